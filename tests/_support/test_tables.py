"""Tables of text: columns that line up, numbers to the right, and nothing behind the last letter of a line."""

from hypothesis import given
from hypothesis import strategies as st

from npresnext._support.tables import text_table

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
