from __future__ import annotations

import tomllib
from typing import Any

import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenantjobs.config.lines import lines_of_keys

TEXT = '''\
# adapter = "in a comment"
adapter = "db"            # another = 1

"quoted key" = 1
note = """
fake = 1
[fake]
"""
literal = \'\'\'
fake = 2\'\'\'
plain = 'a # b = "c"'
list = [
    "x = 1",  # y = 2
    { fake = [3] },
]
a.b . c = 1

[ db ]
url = "sqlite:///jobs.db" # url = 2
inline = { url = "x" }

[[many]]
one = 1
[[many]]
one = 2
[deep."er table"]
last = "\\"quote # ="
'''


def test_every_key_and_table_has_the_line_that_it_begins_on() -> None:
    tomllib.loads(TEXT)

    assert lines_of_keys(TEXT) == {
        ("adapter",): 2,
        ("quoted key",): 4,
        ("note",): 5,
        ("literal",): 9,
        ("plain",): 11,
        ("list",): 12,
        ("a", "b", "c"): 16,
        ("db",): 18,
        ("db", "url"): 19,
        ("db", "inline"): 20,
        ("many",): 22,
        ("many", "one"): 23,
        ("deep", "er table"): 26,
        ("deep", "er table", "last"): 27,
    }


def test_a_text_without_keys_has_no_lines() -> None:
    assert lines_of_keys("") == {}
    assert lines_of_keys("\n# only this\n\n") == {}


def test_a_file_that_ends_without_a_line_break_has_its_last_key() -> None:
    assert lines_of_keys("a = 1\nb = 2") == {("a",): 1, ("b",): 2}


_names = st.text("abcdefgh-_", min_size=1, max_size=6)
_values = st.one_of(
    st.text(max_size=20),
    st.integers(-(2**31), 2**31),
    st.booleans(),
    st.lists(st.text(max_size=12), max_size=3),
    st.dictionaries(_names, st.text(max_size=12), max_size=3),
)
_documents = st.dictionaries(_names, st.one_of(_values, st.dictionaries(_names, _values, max_size=4)), max_size=6)


@settings(suppress_health_check=[HealthCheck.too_slow])  # a machine under load is slow at drawing documents
@given(_documents, st.booleans())
def test_each_key_of_any_document_is_found_on_a_line_that_says_it(document: dict[str, Any], multiline: bool) -> None:
    text = tomli_w.dumps(document, multiline_strings=multiline)
    lines = text.split("\n")
    found = lines_of_keys(text)

    for key, line in found.items():
        assert key[-1] in lines[line - 1]
    assert {key[0] for key in found} == set(tomllib.loads(text))
