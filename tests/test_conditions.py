"""The sentences of alarms and reactions: what they mean, and what is said about those that mean nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.kinds import KINDS
from gateway.conditions import TEXT_MAX, WORDS, Condition, ConditionError, Do, When, parse, parse_do, parse_when


def test_a_word_names_the_state_of_a_contact():
    rope = parse("basement/rope is wet")
    text = "basement/rope is wet"
    assert rope == Condition("sensor", "basement/rope", None, "is", "wet", 0.0, 0.0, text)
    assert rope.holds(True)
    assert rope.holds("alarm")
    assert not any(rope.holds(value) for value in (False, "normal", "cut", "short", "silent", 1.0))


def test_a_cut_loop_is_neither_pulled_nor_idle():
    for word in ("pulled", "idle", "short", "silent"):
        assert not parse(f"toilet-f1/cord is {word}").holds("cut")
    assert parse("toilet-f1/cord is cut").holds("cut")


def test_the_idle_word_holds_only_for_a_contact_known_to_be_idle():
    dry = parse("basement/rope is dry")
    assert dry.holds(False)
    assert dry.holds("normal")
    assert not any(dry.holds(value) for value in (True, "alarm", "cut", "short", "silent", 0.0))


def test_a_sensor_that_says_nothing_is_silent_and_nothing_else():
    assert parse("basement/main/flow is silent").holds("silent")
    assert not parse("basement/main/flow is silent").holds(0.0)
    assert not parse("basement/main/flow < 1").holds("silent")


@pytest.mark.parametrize(
    ("compare", "below", "equal", "above"),
    [(">", False, False, True), (">=", False, True, True), ("<", True, False, False), ("<=", True, True, False)],
)
def test_a_comparison_holds_on_its_side_of_the_number(compare, below, equal, above):
    flow = parse(f"basement/main/flow {compare} 0.0005 for 10 min")
    assert [flow.holds(0.0004), flow.holds(0.0005), flow.holds(0.0006)] == [below, equal, above]
    assert flow.for_s == 600.0


def test_a_comparison_never_holds_for_a_truth_a_word_or_no_number():
    for compare in (">", ">=", "<", "<="):
        assert not any(parse(f"a {compare} 1").holds(value) for value in (True, False, "cut", float("nan")))


def test_a_model_may_say_how_often_it_comes_by_the_sensors_own_past():
    odd = parse("model:generic on hall/temp > 0.9 at most 0.5 a month for 5 min")
    assert (odd.number, odd.a_month, odd.for_s) == (0.9, 0.5, 300.0)
    assert parse("model:generic on hall/temp > 0.9 for 5 min").a_month == 0.0
    for text in (
        "hall/temp > 20 at most 1 a month", "model:generic on hall/temp < 0.9 at most 1 a month",
        "model:generic on hall/temp > 0.9 at most 31 a month", "model:generic on hall/temp > 0.9 at most 1 a year",
        "model:generic on hall/temp > 0.9 at least 1 a month", "model:generic on hall/temp > 0.9 at most",
    ):  # fmt: skip
        with pytest.raises(ConditionError):
            parse(text)


def test_a_model_is_asked_about_a_sensor():
    leak = parse("model:water-leak on basement/main/flow > 0.9 for 10 min")
    assert (leak.subject, leak.model, leak.sensor) == ("model", "water-leak", "basement/main/flow")
    assert (leak.test, leak.number, leak.for_s) == (">", 0.9, 600.0)
    assert leak.holds(0.95)
    assert not leak.holds(0.9)


@pytest.mark.parametrize(("text", "seconds"), [("0.5 s", 0.5), ("30 s", 30.0), ("1.5 min", 90.0), ("2 h", 7200.0)])
def test_a_time_is_a_number_and_a_unit(text, seconds):
    assert parse(f"a is wet for {text}").for_s == seconds


def test_blanks_do_not_matter_not_even_the_wide_ones_of_a_chinese_keyboard():
    assert parse("a>=-1.5e-3 for 1 h").number == -0.0015
    assert parse("  a\u3000is\twet ").word == "wet"


def test_each_word_of_the_kinds_means_one_thing():
    words = [word for kind in KINDS.values() for word in (kind.active, kind.idle) if word]
    assert len(words) == len(set(words))
    assert {*words, "cut", "short", "silent"} == WORDS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at character 1: found the end, expected the id of a sensor"),
        ("!rope is wet", 'at character 1: found "!rope", expected the id of a sensor'),
        (f"{'x' * 65} is wet", f'at character 1: found "{"x" * 40}", expected the id of a sensor'),
        ("rope", 'at character 5: found the end, expected "is" or one of > >= < <='),
        ("rope iz wet", 'at character 6: found "iz", expected "is" or one of > >= < <='),
        ("rope = 3", 'at character 6: found "=", expected "is" or one of > >= < <='),
        ("rope is", "at character 8: found the end, expected one of blocked, closed, cut"),
        ("rope is pulld", 'at character 9: found "pulld", expected one of blocked, closed, cut'),
        ("flow > fast", 'at character 8: found "fast", expected a number in SI units'),
        ("flow > 1e999", 'at character 8: found "1e999", expected a number in SI units'),
        ("flow > 0,5", 'at character 8: found "0,5", expected a number in SI units'),
        ("flow > nan", 'at character 8: found "nan", expected a number in SI units'),
        ("rope is wet now", 'at character 13: found "now", expected the end, or "for" and a time'),
        ("rope is wet for", "at character 16: found the end, expected a time above 0, 31 days at most"),
        ("rope is wet for 10min", 'at character 17: found "10min", expected a time above 0, 31 days at most'),
        ("rope is wet for 10 days", 'at character 20: found "days", expected "s", "min" or "h"'),
        ("rope is wet for 0 s", 'at character 17: found "0", expected a time above 0, 31 days at most'),
        ("rope is wet for 999 h", 'at character 17: found "999", expected a time above 0, 31 days at most'),
        ("rope is wet for 1 s 2", 'at character 21: found "2", expected the end'),
        ("model:X on flow > 1", 'at character 1: found "model:X", expected "model:" and the name of a model'),
        ("model:leak at flow > 1", 'at character 12: found "at", expected "on"'),
        ("model:leak on", "at character 14: found the end, expected the id of a sensor"),
        (" " * (TEXT_MAX + 1), f"at character {TEXT_MAX + 1}: found {TEXT_MAX + 1} characters, expected at most 200"),
    ],
)
def test_a_sentence_that_cannot_be_read_is_told_where_and_what_was_expected(text, message):
    with pytest.raises(ConditionError) as error:
        parse(text)
    assert str(error.value).startswith(message)
    assert error.value.do


def test_a_misspelt_word_is_answered_with_the_nearest_one():
    with pytest.raises(ConditionError, match='write "is pulled"'):
        parse("toilet-f1/cord is puled")


def test_a_reaction_says_when_and_what():
    assert parse_when("alarm.leak active 30 s") == When("leak", 30.0, "alarm.leak active 30 s")
    assert parse_when("alarm.leak active").after_s == 0.0
    assert parse_do("valve close") == Do("valve", "close", "valve close")


@pytest.mark.parametrize(
    ("parser", "text", "message"),
    [
        (parse_when, "leak active", 'at character 1: found "leak", expected "alarm." and the name of an alarm'),
        (parse_when, "alarm.leak", 'at character 11: found the end, expected "active"'),
        (parse_when, "alarm.leak active for 3 s", 'at character 19: found "for", expected a time above 0'),
        (parse_when, "alarm.leak active 3 s x", 'at character 23: found "x", expected the end'),
        (parse_do, "", "at character 1: found the end, expected the name of an output"),
        (parse_do, "valve", "at character 6: found the end, expected what the output shall do"),
        (parse_do, "valve close now", 'at character 13: found "now", expected the end'),
    ],
)
def test_a_reaction_that_cannot_be_read_is_told_where(parser, text, message):
    with pytest.raises(ConditionError) as error:
        parser(text)
    assert str(error.value).startswith(message)


PIECES = [
    "rope",
    "model:water-leak",
    "on",
    "is",
    "wet",
    "cut",
    ">",
    "<=",
    "==",
    "0.5",
    "-1e9",
    "for",
    "10",
    "min",
    " ",
    "",
]
SENTENCES = st.one_of(
    st.text(max_size=250),
    st.lists(st.sampled_from(PIECES)).map(" ".join),
    st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=5))).map("".join),
)


@given(SENTENCES)
def test_any_text_is_read_or_refused_with_its_place_and_nothing_else_happens(text):
    for parser in (parse, parse_when, parse_do):
        try:
            assert parser(text).text == text
        except ConditionError as error:
            assert 1 <= error.at <= len(text) + 1
            assert error.found
            assert error.expected
            assert error.do


@given(SENTENCES, st.one_of(st.booleans(), st.floats(), st.sampled_from(["short", "normal", "alarm", "cut", "silent"])))
def test_whatever_was_read_answers_for_any_value(text, value):
    try:
        condition = parse(text)
    except ConditionError:
        return
    assert condition.holds(value) in (True, False)
