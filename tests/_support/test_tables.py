"""Tables of text: columns that line up, numbers to the right, and nothing behind the last letter of a line."""

from hypothesis import given
from hypothesis import strategies as st

from npresnext._support.tables import html_details, html_table, text_table

WORDS = st.text("abcdefgh ", min_size=1, max_size=9).map(lambda text: f"x{text.strip()}")


@given(st.lists(st.tuples(WORDS, st.integers(-(10**6), 10**6), st.floats(0, 1)), min_size=1, max_size=6))
def test_every_column_lines_up_and_numbers_stand_to_the_right(rows):
    lines = text_table(["name", "count", "share"], [[name, count, f"{share:.1%}"] for name, count, share in rows])
    head, rule, *body = lines.splitlines()
    assert rule == "-" * max(map(len, [head, *body]))
    assert len({len(line) for line in [head, *body]}) == 1  # the last column is to the right
    end = head.index("count") + len("count")
    for line, (name, count, _) in zip(body, rows):
        assert line.startswith(name) and line[:end].endswith(f"{count:,}")


def test_text_stands_to_the_left_also_where_some_of_it_is_a_number():
    table = text_table(["layer", "kernel", "norm"], [["0", "[3, 3]", "1e-05"], ["10", "-", "-"]])
    assert table.splitlines()[2:] == ["0      [3, 3]  1e-05", "10     -           -"]


@given(st.lists(st.tuples(WORDS, st.integers(-(10**6), 10**6), st.floats(0, 1)), min_size=1, max_size=6))
def test_headings_of_an_html_table_are_aligned_like_their_columns(rows):
    table = html_table(["name", "count", "share"], [[name, count, f"{share:.1%}"] for name, count, share in rows])
    for side, heading in (("left", "name"), ("right", "count"), ("right", "share")):
        assert f'<th style="text-align:{side}">{heading}</th>' in table
    assert table.count("text-align:left") == 1 + len(rows) and table.count("text-align:right") == 2 + 2 * len(rows)


def test_html_of_any_text_is_escaped():
    table = html_table(["<a>"], [["x < y & z"]], indents=[1.5])
    assert "&lt;a&gt;" in table and "x &lt; y &amp; z" in table and "padding-left:1.5em" in table
    assert html_details("<t>", table, is_open=False).startswith("<details><summary>&lt;t&gt;</summary>")
