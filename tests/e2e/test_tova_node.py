"""Where Node.js runs the same expression its value is the same: numbers, strings, arrays, truths and JSON, 10,000 times."""
import json
import random
import subprocess
from shutil import which

import pytest

from tova_host import IMPATIENT, Host
from wsclient import connect

EXPRESSIONS, BATCH, DEPTH = 10000, 100, 4
LETTERS = ["a", "b", "Z", "0", "9", " ", "é", "€", "x", ",", "-", "\t", "日"]


class Maker:
    """Makes expressions as pairs: in Tova and in JavaScript."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, depth, leaves, others):
        return self.random.choice(leaves if depth <= 0 else others)(depth - 1)

    def same(self, text):
        return text, text

    def fill(self, form, *values):
        return tuple(form.format(*(value[side] for value in values)) for side in (0, 1))

    # --- numbers

    def number(self, depth):
        return self.pick(depth, [self.whole, self.decimal], [self.whole, self.decimal, self.operation, self.operation, self.power, self.negated,
                                                             self.function, self.extreme, self.length, self.place, self.folded])

    def whole(self, _=0):
        return self.same(str(self.random.choice([0, 1, 2, 3, 7, 10, 100, 255, 4096, 123456789, 9007199254740991, self.random.randrange(1000)])))

    def decimal(self, _=0):
        return self.same(self.random.choice(["0.5", "0.1", "1.5", "2.5", "1e21", "1e-7", "3.14159", "1e300", "0.000001", "123.456",
                                             repr(self.random.random()), repr(self.random.random() * 1e6)]))

    def operation(self, depth):
        return self.fill("({} %s {})" % self.random.choice("+-*/%"), self.number(depth), self.number(depth))

    def power(self, _):
        return self.fill("(({} - {}) ** {})", self.whole_to(20), self.whole_to(20), self.whole_to(6))

    def whole_to(self, most):
        return self.same(str(self.random.randrange(most)))

    def negated(self, depth):
        return self.fill("(-({}))", self.number(depth))

    def function(self, depth):
        return self.fill("Math.%s({})" % self.random.choice(["floor", "ceil", "abs", "round", "trunc", "sign", "sqrt"]), self.number(depth))

    def extreme(self, depth):
        return self.fill("Math.%s({}, {})" % self.random.choice(["max", "min"]), self.number(depth), self.number(depth))

    def length(self, depth):
        return self.fill("({}).length", self.random.choice([self.string, self.array])(depth))

    def place(self, depth):
        return self.fill("({}).indexOf({})", self.string(depth), self.literal())

    def folded(self, depth):
        return self.fill("({}).reduce((a, b) => a + b, {})", self.array(depth), self.number(depth))

    # --- strings

    def string(self, depth):
        return self.pick(depth, [self.literal], [self.literal, self.joined, self.mixed, self.part, self.cased, self.trimmed, self.repeated,
                                                 self.padded, self.replaced, self.fixed, self.split, self.json, self.template, self.based])

    def literal(self, _=0):
        text = "".join(self.random.choices(LETTERS, k=self.random.randrange(6)))
        return json.dumps(text, ensure_ascii=False), json.dumps(text, ensure_ascii=False)

    def joined(self, depth):
        return self.fill("({} + {})", self.string(depth), self.string(depth))

    def mixed(self, depth):
        return self.fill(self.random.choice(["({} + {})"]), self.string(depth), self.number(depth))

    def part(self, depth):
        if self.random.random() < 0.5:
            return self.fill("({}).slice({} - 3, {} - 2)", self.string(depth), self.whole_to(6), self.whole_to(8))
        return self.fill("({}).substring({}, {})", self.string(depth), self.whole_to(6), self.whole_to(6))

    def cased(self, depth):
        return self.fill("({}).%s()" % self.random.choice(["toUpperCase", "toLowerCase"]), self.string(depth))

    def trimmed(self, depth):
        return self.fill("({}).%s()" % self.random.choice(["trim", "trimStart", "trimEnd"]), self.string(depth))

    def repeated(self, depth):
        return self.fill("({}).repeat({})", self.string(depth - 2), self.whole_to(4))

    def padded(self, depth):
        return self.fill("({}).%s({}, {})" % self.random.choice(["padStart", "padEnd"]), self.string(depth - 1), self.whole_to(12), self.literal())

    def replaced(self, depth):
        return self.fill("({}).replaceAll(\"%s\", {})" % self.random.choice("abx0"), self.string(depth), self.same('"é-"'))

    def fixed(self, depth):
        return self.fill("({}).toFixed({})", self.number(depth - 1), self.whole_to(8))

    def based(self, _):
        return self.fill("({}).toString({} + 2)", self.whole(), self.whole_to(34))

    def split(self, depth):
        return self.fill("({}).split({}).join({})", self.string(depth), self.same(json.dumps(self.random.choice(",-a é"), ensure_ascii=False)), self.literal())

    def json(self, depth):
        return self.fill("JSON.stringify({})", self.random.choice([self.string, self.number, self.array, self.truth, self.object])(depth))

    def template(self, depth):
        value = self.random.choice([self.string, self.number, self.truth])(depth)
        return '"<{' + value[0] + '}>"', "`<${" + value[1] + "}>`"

    # --- truths, arrays, objects

    def truth(self, depth):
        forms = [("({} < {})", self.number), ("({} >= {})", self.number), ("({} < {})", self.string), ("({} <= {})", self.string)]
        choice = self.random.randrange(9)
        if choice < 4:
            form, make = forms[choice]
            return self.fill(form, make(depth - 1), make(depth - 1))
        if choice == 4:
            a, b = self.random.choice([self.number, self.string])(depth - 1), self.random.choice([self.number, self.string])(depth - 1)
            return f"({a[0]} == {b[0]})", f"({a[1]} === {b[1]})"
        if choice == 5 and depth > 0:
            a, b = self.truth(depth - 1), self.truth(depth - 1)
            word, sign = self.random.choice([("and", "&&"), ("or", "||")])
            return f"({a[0]} {word} {b[0]})", f"({a[1]} {sign} {b[1]})"
        if choice == 6 and depth > 0:
            a = self.truth(depth - 1)
            return f"(not {a[0]})", f"(!{a[1]})"
        if choice == 7:
            return self.fill("({}).includes({})", self.string(depth - 1), self.literal())
        return self.fill("({}).%s({})" % self.random.choice(["startsWith", "endsWith"]), self.string(depth - 1), self.literal())

    def array(self, depth):
        items = [self.number(depth - 2) for _ in range(self.random.randrange(4))]
        made = self.fill("[" + ", ".join(["{}"] * len(items)) + "]", *items)
        choice = self.random.randrange(6) if depth > 0 else 0
        if choice == 1:
            return self.fill("({}).map(x => x * {})", made, self.number(depth - 2))
        if choice == 2:
            return self.fill("({}).filter(x => x > {})", made, self.number(depth - 2))
        if choice == 3:
            return self.fill("({}).concat({}).slice({} - 2)", made, made, self.whole_to(4))
        if choice == 4:
            return self.fill("[...{}, {}].reverse()", made, self.number(depth - 2))
        if choice == 5:
            return self.fill("({}).sort((a, b) => a - b)", self.fill("[" + ", ".join(["{}"] * 3) + "]", *(self.whole() for _ in range(3))))
        return made

    def object(self, depth):
        members = [(key, self.random.choice([self.number, self.string, self.truth, self.array])(depth - 2))
                   for key in self.random.sample(["a", "type", "if", "x y", "é", "b"], self.random.randrange(4))]
        sides = ["{" + ", ".join(f"{json.dumps(key, ensure_ascii=False)}: {value[side]}" for key, value in members) + "}" for side in (0, 1)]
        made = (f"({sides[0]})", f"({sides[1]})")
        return self.fill("JSON.parse(JSON.stringify({}))", made) if self.random.random() < 0.5 else made

    def any(self):
        make = self.random.choice([self.number, self.number, self.string, self.string, self.truth])
        return make(self.random.randrange(1, DEPTH + 1))


def program(pairs):
    batches = [pairs[i:i + BATCH] for i in range(0, len(pairs), BATCH)]
    functions = "".join(f"fn t{i}() {{\n  [\n" + "".join('    "{' + tova + '}",\n' for tova, _ in batch) + "  ]\n}\n"
                        for i, batch in enumerate(batches))
    return functions + "all = [" + ", ".join(f"t{i}" for i in range(len(batches))) + "]\n" + (
        "server { ws { on_message fn(ws, m) { f = all[toInt(m)]; ws.send(JSON.stringify(f())) }\n"
        'on_error fn(ws, error) { ws.send("{error}") } } }\n')


@pytest.mark.skipif(not which("node"), reason="Node.js is not installed")
@pytest.mark.parametrize("seed", [1, 2])
def test_values_are_those_of_javascript(seed, tmp_path):
    maker = Maker(seed)
    pairs = [maker.any() for _ in range(EXPRESSIONS // 2)]
    script = "const s = [\n" + "".join(f"() => `${{{js}}}`,\n" for _, js in pairs) + "];\nconsole.log(JSON.stringify(s.map((f) => f())));\n"
    (tmp_path / "all.cjs").write_text(script)
    expected = json.loads(subprocess.run(["node", tmp_path / "all.cjs"], capture_output=True, text=True, check=True).stdout)
    path = tmp_path / "all.tova"
    path.write_text(program(pairs))
    with Host(path, *IMPATIENT) as host:
        ws = connect("127.0.0.1", host.port, "/")
        got = []
        for i in range(len(pairs) // BATCH):
            ws.send_text(str(i))
            answer = ws.recv_text()
            assert answer.startswith("["), answer
            got += json.loads(answer)
    differ = [(pair[0], mine, theirs) for pair, mine, theirs in zip(pairs, got, expected, strict=True) if mine != theirs]
    assert differ == [], f"{len(differ)} of {len(pairs)}: {differ[:5]}"
