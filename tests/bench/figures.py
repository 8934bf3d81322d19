"""How figures of several rounds become cells of a Markdown table."""
import statistics


def figure(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def cell(values):
    """The median, and the smallest to the largest. None: there is nothing to measure; a None in it: a run failed."""
    if not values:
        return "-"
    if None in values:
        return "**FAILED**"
    low, mid, high = figure(min(values)), figure(statistics.median(values)), figure(max(values))
    return mid if low == high else f"{mid} ({low}–{high})"


def ratios(values, base):
    """Of each round: what slowed the machine for a while slowed both. None where there is nothing to compare."""
    if not values or not base or None in values or None in base or min(base) <= 0:
        return None
    return [v / b for v, b in zip(values, base)]


def ratio(values, base):
    found = ratios(values, base)
    return f"{statistics.median(found):.2f}" if found else "-"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(r) + " |" for r in rows])
