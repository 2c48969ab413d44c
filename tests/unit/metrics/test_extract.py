from __future__ import annotations

import math
import re
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InvalidSpec
from orchestrator.metrics.extract import LINE_BYTES, Match, compile_definitions, extract
from orchestrator.metrics.pattern import required_literal

LOSS = ("train:loss", r"train_loss: ([0-9.]+)")


class TestDefinitions:
    def test_group_one_is_the_value(self):
        lines = ["epoch 1 train_loss: 0.25 acc: 0.9", "nothing", "train_loss: 1"]
        assert extract(lines, [LOSS]) == [("train:loss", 0.25), ("train:loss", 1.0)]

    def test_definitions_may_be_any_values_with_name_and_regex(self):
        @dataclass(frozen=True)
        class Definition:
            name: str
            regex: str

        assert extract(["a=3"], [Definition("a", "a=(.)")]) == [("a", 3.0)]

    def test_several_definitions_find_their_values_in_one_line(self):
        definitions = [("loss", r"(?<!val_)loss: (\S+)"), ("val", r"val_loss: (\S+)")]
        assert extract(["loss: 1 - val_loss: 2"], definitions) == [("loss", 1.0), ("val", 2.0)]

    def test_the_first_match_of_a_line_counts(self):
        assert extract(["loss: 1 - val_loss: 2"], [("loss", r"loss: (\S+)")]) == [("loss", 1.0)]

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("1e-3", 1e-3),
            ("-2.5E+4", -2.5e4),
            ("inf", math.inf),
            ("-Infinity", -math.inf),
            ("0.5.", 0.5),
            ("7,", 7.0),
            (" 3 ", 3.0),
        ],
    )
    def test_what_counts_as_a_number(self, text, value):
        assert extract([f"x={text}|"], [("x", r"x=([^|]*)\|")]) == [("x", value)]

    def test_nan_is_a_value(self):
        ((_, value),) = extract(["loss: nan"], [("loss", r"loss: (\w+)")])
        assert math.isnan(value)

    def test_what_is_no_number_is_rejected_and_counted(self):
        extractor = compile_definitions([("x", r"x=(\w*)"), ("y", r"y=(\d)?")])
        scan = extractor.scan(b"x=high\nx=3\ny=\n", 0)
        assert (scan.rejected, scan.matches) == (2, [Match("x", 3.0, 7)])


class TestWrongDefinitions:
    @pytest.mark.parametrize(
        ("regex", "words"),
        [
            ("loss: ([0-9.]+", "must be a Python regular expression"),
            (r"loss: (\q)", "must be a Python regular expression"),
            ("loss: [0-9.]+", "must have one group that captures the value"),
            ("(?:loss): x", "must have one group"),
            ("((a{1000}){1000}){1000}", "must repeat at most 100000 things, got 1000000000"),
            ("(?:(a|b{50000})|c){3}", "must repeat at most"),
            ("(a{99999999999})", "must be a Python regular expression"),
            ("(" * 400, "must be a Python regular expression"),
        ],
    )
    def test_each_is_refused_with_rule_value_and_remedy(self, regex, words):
        with pytest.raises(InvalidSpec, match=re.escape(words)) as caught:
            compile_definitions([("m", regex)])
        assert "metric 'm'" in caught.value.message
        assert ";" in caught.value.message

    def test_ordinary_counted_repeats_are_fine(self):
        compile_definitions([("m", r"\d{4}-\d{2}-\d{2} .{0,1000}loss=(\d{1,50})")])


class TestHostileLines:
    @pytest.mark.parametrize(
        ("regex", "line"),
        [
            (r"^(a|aa)+$", "a" * 60 + "!"),
            (r"(.*)(.*)(.*)(.*)[xy]z(1)", "a" * 3000 + "xz2"),
        ],
    )
    def test_an_expression_that_explodes_is_switched_off_and_others_go_on(self, regex, line):
        extractor = compile_definitions([("bad", regex), LOSS], match_seconds=0.05)
        block = f"{line}\ntrain_loss: 1\n{line}\ntrain_loss: 2\n".encode()
        scan = extractor.scan(block, 0)
        assert [match.value for match in scan.matches] == [1.0, 2.0]
        assert extractor.too_slow == {"bad"}
        assert extractor.scan(block, 0).matches == scan.matches

    def test_one_that_is_slow_on_each_of_many_lines_is_switched_off_too(self):
        extractor = compile_definitions([("slow", r"(.*)(.*)(.*)[xy]z(1)")], match_seconds=0.2)
        extractor.scan((b"a" * 120 + b"xz2\n") * 50_000, 0)
        assert extractor.too_slow == {"slow"}

    def test_only_the_beginning_of_a_long_line_is_looked_at(self):
        line = b"train_loss: 1 " + b"x" * 10_000_000 + b"train_loss: 2"
        assert compile_definitions([LOSS]).scan(line + b"\ntrain_loss: 3\n", 0).matches == [
            Match("train:loss", 1.0, 0),
            Match("train:loss", 3.0, len(line) + 1),
        ]

    def test_a_value_that_may_go_on_behind_what_is_looked_at_does_not_count(self):
        prefix = "train_loss: 0."
        head = "x" * (LINE_BYTES - len(prefix) - 2) + prefix
        whole = f"{head}12"
        assert len(whole) == LINE_BYTES
        assert extract([whole], [LOSS]) == [("train:loss", 0.12)]
        assert extract([f"{whole}34"], [LOSS]) == []

    @given(st.binary(max_size=300))
    def test_no_bytes_make_it_fail(self, block):
        definitions = [LOSS, ("any", r"(.)"), ("line", r"^(.*)$"), ("digits", r"(\d+)")]
        scan = compile_definitions(definitions).scan(block, 5)
        starts = {0} | {i + 1 for i, byte in enumerate(block) if byte in b"\r\n"}
        assert all(match.position - 5 in starts for match in scan.matches)
        positions = [match.position for match in scan.matches]
        assert positions == sorted(positions)


class TestProgressBars:
    def test_each_state_counts_and_the_last_is_the_final_value(self):
        block = b"\r 1/3 train_loss: 3\r 2/3 train_loss: 2\r 3/3 train_loss: 1\n"
        scan = compile_definitions([LOSS]).scan(block, 0)
        assert [match.value for match in scan.matches] == [3.0, 2.0, 1.0]

    def test_windows_line_ends_are_no_part_of_a_line(self):
        assert compile_definitions([("x", "x=(.*)$")]).scan(b"x=1\r\nx=2\r\n", 0).matches == [
            Match("x", 1.0, 0),
            Match("x", 2.0, 5),
        ]


PATTERNS = [
    r"train_loss: ([0-9.]+)",
    r"(?:epoch|step) (\d+)",
    r"loss(?:es)?: (\d)",
    r"(ab)+c(\d)",
    r"(ab)*c(\d)",
    r"[ab]cd(?:e|f)gh(\d)",
    r"x{3}y(\d)",
    r"(?P<v>\d+)% done",
    r"(?i)Loss (\d)",
    r"a(?i:B)c(\d)",
    r"a\.b\|c(\d)",
    r"(?>atomic)(\d)",
    r"(a)?(?(1)b|c)(\d)",
    r"é€ (\d)",
    r"(?x) a b  c # comment" + "\n" + r"(\d)",
    r"(\d)",
    r"^(\d) end$",
    "bad \ufffd (\\d)",
]


class TestPrefilter:
    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_every_match_holds_the_literal(self, pattern):
        literal = required_literal(pattern)

        @given(st.from_regex(pattern))
        def holds(text):
            assert literal in text

        holds()

    @pytest.mark.parametrize(
        ("pattern", "literal"),
        [
            (r"train_loss: ([0-9.]+)", "train_loss: "),
            (r"(?i)Loss (\d)", ""),
            (r"(\d+) done|(\d+) left", ""),
            (r"loss(?:es)?: (\d)", "loss"),
            (r"(?:val_)+accuracy=(\d)", "accuracy="),
        ],
    )
    def test_the_longest_one_is_found(self, pattern, literal):
        assert required_literal(pattern) == literal

    @given(
        lines=st.lists(st.text(alphabet="ab1:. \r\ufffd", max_size=12), max_size=20),
        pattern=st.sampled_from(
            [r"ab: (\d)", r"a(\d)?b", r"^(1)", r"(\d)$", r"a+b*:(.)", r"(?:ab|ba)(.)", "\ufffd(1)"]
        ),
    )
    def test_scanning_agrees_with_trying_each_line(self, lines, pattern):
        block = "".join(f"{line}\n" for line in lines)
        expected = []
        for line in re.split("[\r\n]", block):
            match = re.search(pattern, line)
            if match and match[1] is not None:
                try:
                    expected.append(float(match[1]))
                except ValueError:
                    continue
        scan = compile_definitions([("m", pattern)]).scan(block.encode(), 0)
        assert [match.value for match in scan.matches] == expected
