"""Documents made for a schema validate against it."""

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.simulator.schema import document

LEAF = st.one_of(
    st.integers(0, 40).map(lambda n: {"type": "string", "minLength": n, "maxLength": n + 3}),
    st.sampled_from(["date", "email", "uuid", "uri"]).map(lambda f: {"type": "string", "format": f}),
    st.integers(-50, 50).flatmap(
        lambda low: st.fixed_dictionaries(
            {"type": st.sampled_from(["integer", "number"]), "minimum": st.just(low)}, optional={"maximum": st.just(low + 9)}
        )
    ),
    st.integers(-9, 9).map(lambda n: {"type": "integer", "exclusiveMinimum": n}),
    st.lists(st.one_of(st.text(max_size=5), st.integers()), min_size=1, max_size=3).map(lambda v: {"enum": v}),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"const": 7}, {}, {"type": ["string", "null"]}, {"type": "integer", "multipleOf": 7}]),
)


def branches(children):
    names = st.sampled_from("abcd")
    return st.one_of(
        st.dictionaries(names, children, max_size=3).flatmap(
            lambda p: st.just({"type": "object", "properties": p, "required": sorted(p)[:1], "additionalProperties": False})
        ),
        st.tuples(children, st.integers(0, 3)).map(lambda t: {"type": "array", "items": t[0], "minItems": t[1]}),
        st.lists(children, min_size=1, max_size=3).map(lambda c: {"anyOf": c}),
        children.map(lambda c: {"allOf": [c]}),
    )


@given(st.recursive(LEAF, branches, max_leaves=8))
def test_documents_validate(schema):
    jsonschema.Draft202012Validator(schema).validate(document(schema))


RECURSIVE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
            "required": ["name", "next"],
        }
    },
    "$ref": "#/$defs/node",
}


def test_recursive_schemas_end():
    jsonschema.Draft202012Validator(RECURSIVE).validate(document(RECURSIVE))
    document({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"})
    endless = {"type": "object", "properties": {"x": {"$ref": "#"}}, "required": ["x"]}
    document(endless)


def test_schemas_that_would_explode_are_bounded():
    doubled = {"type": "object", "properties": {k: {"$ref": "#"} for k in "ab"}, "required": ["a", "b"]}
    wide = {"type": "object", "properties": {f"p{i}": {"$ref": "#"} for i in range(200)}}
    for schema in (doubled, wide):
        assert len(str(document(schema))) < 1_000_000


def test_gemini_types_and_hints():
    schema = {
        "type": "OBJECT",
        "properties": {"city": {"type": "STRING"}, "n": {"type": "INTEGER"}, "tags": {"type": "ARRAY", "items": {"type": "STRING"}}},
    }
    assert document(schema, "Oslo") == {"city": "Oslo", "n": 1, "tags": ["Oslo"]}


@pytest.mark.parametrize(
    "schema", [None, True, [], "x", {"type": 5}, {"properties": []}, {"enum": []}, {"anyOf": "x"}, {"$ref": "http://elsewhere/"}]
)
def test_odd_schemas_do_not_crash(schema):
    document(schema)
