"""What the API says of itself (/api/v1/openapi.json), and whether what it answers is that."""
import json
import re

import jsonschema

_documents = {}  # by what they say: the schemas of a document, made once


class Document:
    def __init__(self, text):
        self.json = json.loads(text)
        self.schemas = self.json["components"]["schemas"]
        self.validators = {}

    def operation(self, method, target):
        """The operation that a request is, or None; and the template of its path."""
        path = target.partition("?")[0]
        for template, operations in self.json["paths"].items():
            if re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template)), path) and method.lower() in operations:
                return operations[method.lower()], template
        return None, None

    def validator(self, schema):
        text = json.dumps(schema)
        if text not in self.validators:
            whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", "components": self.json["components"], **schema}
            jsonschema.Draft202012Validator.check_schema(whole)
            self.validators[text] = jsonschema.Draft202012Validator(whole)
        return self.validators[text]

    def judge(self, method, target, status, body):
        """Fails where the answer is another than the document says."""
        operation, template = self.operation(method, target)
        if operation is None:  # no such path, or not by this method: refused as everything is
            assert status >= 400, f"{method} {target} was answered with {status}, and the document does not know it"
            response = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
        else:
            response = operation["responses"].get(str(status)) or operation["responses"]["default"]
            assert str(status) in operation["responses"] or status >= 400, f"{method} {template}: {status} is not in the document"
        schema = response["content"]["application/json"]["schema"]
        wrong = [f"{'/'.join(map(str, error.path))}: {error.message}" for error in self.validator(schema).iter_errors(json.loads(body))]
        assert not wrong, f"{method} {target} -> {status}: {wrong}"


def document(text):
    if text not in _documents:
        _documents[text] = Document(text)
    return _documents[text]
