"""What a user may write as a prompt, how it is understood, and where an error points."""

import pickle

import pytest

from avgen_core.prompts import PromptSchedule, PromptScheduleError, Segment, parse_schedule


def parse(text: str, **options) -> list[tuple[int, str]]:
    options = {"fps": 16, "frames": 64, "chunk": 8} | options
    return [(segment.start, segment.text) for segment in parse_schedule(text, **options).segments]


def error_of(text: str, **options) -> PromptScheduleError:
    with pytest.raises(PromptScheduleError) as caught:
        parse(text, **options)
    return caught.value


# --- plain text ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "a red fox runs",
        "a cat: the movie",
        "a 16:9 view of a fox",
        "16:9, a fox",
        "12:30 in the harbour: a crab",
        "3d: a fox",
        "...: a fox",
        '"Route 66": a road movie',
        "a {red} fox",
        "眠る狐、雪",
        "un renard à l'aube 🦊",
    ],
)
def test_plain_text_holds_throughout(text):
    assert parse(text) == [(0, text)]


def test_plain_text_needs_to_know_nothing_about_the_video():
    assert parse("a fox", frames=None, chunk=None) == [(0, "a fox")]


def test_lines_are_joined_and_blank_lines_and_comments_ignored():
    assert parse("# my film\n\n  a red fox\n  # at dawn\n  in the snow  \n") == [(0, "a red fox in the snow")]


def test_a_byte_order_mark_is_no_word():
    assert parse("\ufeffa fox") == [(0, "a fox")]


# --- headers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "frame"),
    [
        ("24:", 24),
        ("24 :", 24),
        ("24f:", 24),
        ("24 frames:", 24),
        ("frame 24:", 24),
        ("Frame 24:", 24),
        ("1.5s:", 24),
        ("1.5 sec:", 24),
        ("1.5 seconds:", 24),
        ("1 second:", 16),
        (".5s:", 8),
        ("50%:", 32),
        ("12.5 %:", 8),
        ("chunk 3:", 24),
        ("CHUNK 3:", 24),
        ("24\uff1a", 24),
    ],
)
def test_every_header(header, frame):
    assert parse(f"0: a fox\n{header} an owl") == [(0, "a fox"), (frame, "an owl")]


def test_units_may_be_mixed():
    text = "0: fox\n0.5s: owl\n25%: hare\nchunk 3: crab\n30f: bear"
    assert parse(text) == [(0, "fox"), (8, "owl"), (16, "hare"), (24, "crab"), (30, "bear")]


def test_the_space_after_the_colon_is_optional_before_a_word():
    assert parse("0:fox\n24f:3 owls") == [(0, "fox"), (24, "3 owls")]


@pytest.mark.parametrize(
    ("seconds", "fps", "frame"),
    [
        ("0.1", 16, 2),
        ("0.15625", 16, 3),
        ("0.15624", 16, 2),
        ("0.5", 25, 13),
        ("0.7", 5, 4),
        ("1", 23.976, 24),
    ],
)
def test_seconds_round_half_up_to_frames(seconds, fps, frame):
    assert parse(f"0: fox\n{seconds}s: owl", fps=fps)[1] == (frame, "owl")


def test_percent_rounds_half_up_to_frames():
    assert parse("0: fox\n50%: owl", frames=5) == [(0, "fox"), (3, "owl")]


def test_lines_without_a_header_continue_the_prompt_above():
    text = "0:\n  a red fox\n  runs: fast\n\n# then\n24: an owl\nsits"
    assert parse(text) == [(0, "a red fox runs: fast"), (24, "an owl sits")]


def test_headers_may_share_a_line():
    assert parse("0: a fox | 1.5s: an owl") == [(0, "a fox"), (24, "an owl")]
    assert parse("0: a fox |\n24: an owl") == [(0, "a fox"), (24, "an owl")]
    assert parse("0: a fox") == [(0, "a fox")]


def test_a_prompt_may_begin_like_a_header_after_its_own():
    assert parse("0: 24: the number | 8: # hash") == [(0, "24: the number"), (8, "# hash")]


def test_windows_line_ends():
    assert parse("0: a fox\r\nruns\r\n24: an owl\r\n") == [(0, "a fox runs"), (24, "an owl")]
    error = error_of("0: a fox\r\n24: an owl\r\n 12: a bear\r\n")
    assert (error.line, error.column) == (3, 2)


def test_columns_count_characters():
    assert error_of("0: 狐🦊 | 24: | 30: b").column == 9


# --- bars ------------------------------------------------------------------------------------------


def test_bars_spread_prompts_evenly():
    assert parse("fox | owl") == [(0, "fox"), (32, "owl")]
    assert parse("fox|owl|bear") == [(0, "fox"), (21, "owl"), (43, "bear")]
    assert parse("a fox |\n an owl\n sits | a bear") == [(0, "a fox"), (21, "an owl sits"), (43, "a bear")]


def test_an_escaped_bar_belongs_to_the_prompt():
    assert parse(r"a sign \| a post") == [(0, "a sign | a post")]
    assert parse(r"a sign \| a post | an owl") == [(0, "a sign | a post"), (32, "an owl")]
    assert parse("0: a \\| b\n24: c") == [(0, "a | b"), (24, "c")]
    assert parse(r"a {red\|blue} fox") == [(0, "a {red|blue} fox")]


# --- FizzNodes' JSON body --------------------------------------------------------------------------

PAIR = [(0, "a fox"), (24, "an owl")]


@pytest.mark.parametrize(
    "text",
    [
        '"0": "a fox", "24": "an owl"',
        '"0": "a fox",\n"24": "an owl",\n',
        '{"0": "a fox", "24": "an owl"}',
        '{\n  "0" : "a fox",\n  "24" : "an owl",\n}\n',
        '"0":"a fox","24":"an owl"',
        '# from FizzNodes\r\n"0": "a\r\nfox",\r\n"24": "an owl"\r\n',
        '" 0 ": " a fox ", "024": "an owl"',
    ],
)
def test_json_body(text):
    assert parse(text, frames=None, chunk=None) == PAIR


def test_json_escapes_quotes_and_bars_need_none():
    assert parse(r'"0": "a \"fox\" | an owl", "8": "\u72d0"') == [(0, 'a "fox" | an owl'), (8, "狐")]


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ('"0": "a fox"\n"24": "an owl"', 2, 1, "expected a comma between prompts, found '\"'"),
        ('"0": "a fox",\n"24": an owl', 2, 7, "expected the prompt of \"24\" in double quotes, found 'a'"),
        ('"0": "a fox",\n"24": 7', 2, 7, "expected the prompt"),
        ('"0": "a fox",\n"24" "an owl"', 2, 6, 'expected a colon after the key "24"'),
        ('"0": "a fox",\n"24": "an owl', 2, 7, "Unterminated string"),
        ('"0": "a fox",\n"24":', 2, 6, "found the end of the text"),
        (r'"0": "a \fox \q"', 1, 14, "Invalid \\escape"),
        ('"0: "a fox", "24": "an owl"', 1, 6, "expected a colon"),
        ('"0": "a fox",, "24": "an owl"', 1, 14, "expected a frame number"),
        ("{0: 'a fox'}", 1, 2, "expected a frame number in double quotes"),
        ("'0': 'a fox'", 1, 1, "expected a frame number in double quotes"),
        ('\n {"0": "a fox"', 2, 2, "this { is never closed"),
        ('"0": "a fox"}', 1, 13, "this } has no { at the start"),
        ('{"0": "a fox"} "24": "b"', 1, 16, "expected nothing after the closing }"),
        ("{", 1, 1, "never closed"),
        ("{}", 1, 1, "no prompts"),
        ('"0": "a fox", "max_f/2": "an owl"', 1, 15, "Expressions are not evaluated"),
        ('"0": "a fox", "24*2": "an owl"', 1, 15, "Expressions are not evaluated"),
        ('"0": "a fox", "0.5": "an owl"', 1, 15, 'the key "0.5" is not a frame number'),
        ('"max_f": "a fox"', 1, 1, "Expressions are not evaluated"),
        ('"0": "a `sin(t)` fox"', 1, 6, '`sin(t)` in the prompt of "0" is FizzNodes\' own syntax'),
        ('"0": "a fox --neg blurry"', 1, 6, "a negative prompt in its own input"),
        ('"0": "a fox",\n"0": "an owl"', 2, 1, '"0" (frame 0) is a duplicate: line 1'),
        ('"0": "a fox", "8": "b", "0": "c"', 1, 25, "is a duplicate"),
        ('"8": "a fox"', 1, 1, "the first must start at frame 0"),
        ('"0": "a fox", "-8": "an owl"', 1, 15, '"-8" is negative'),
        ('"0": "a fox",\n"8": " "', 2, 1, 'the prompt of "8" is empty'),
        (r'"0": "\ud800"', 1, 1, "half a surrogate pair"),
    ],
)
def test_json_errors_say_where(text, line, column, message):
    error = error_of(text)
    assert (error.line, error.column) == (line, column), error
    assert message in str(error)


@pytest.mark.parametrize("text", ["", " \n# only a comment\n"])
def test_an_empty_text_is_no_prompt(text):
    assert parse_schedule(text, fps=8) == PromptSchedule((Segment(0, ""),))


# --- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("24: a fox", 1, 1, "starts at frame 24; the first must start at frame 0"),
        ("a fox\n24: an owl", 1, 1, "`a fox` has no start; begin with a header for frame 0"),
        ("0: a fox\n24: an owl\n  12: a bear", 3, 3, "frame 12 comes after frame 24; starts must increase"),
        ("0: a fox\n24: an owl\n24f: a bear", 3, 1, "`24f:` (frame 24) is a duplicate: line 2"),
        ("0: a fox\n24: an owl\n1.5s: a bear", 3, 1, "`1.5s:` (frame 24) is a duplicate"),
        ("0: a fox\n64: an owl", 2, 1, "is past the end: the video has 64 frames, 0 to 63"),
        ("0: a fox\n100%: an owl", 2, 1, "`100%:` (frame 64) is past the end"),
        ("0: a fox\n-8: an owl", 2, 1, "`-8:` is negative"),
        ("0: a fox\nframe -8: an owl", 2, 1, "`frame -8:` is negative"),
        ("0: a fox\n-0.5s: an owl", 2, 1, "`-0.5s:` is negative"),
        ("0: a fox\n24:\n48: a bear", 2, 1, "the prompt of `24:` is empty"),
        ("0: a fox\n24.5: an owl", 2, 1, "`24.5:` is not a whole number"),
        ("0: a fox\nchunk 1.5: an owl", 2, 1, "`chunk 1.5:` is not a whole number"),
        ("0: a fox\n1.2.3s: an owl", 2, 1, "no number that can be read"),
        ("0: a fox\n24 frmes: an owl", 2, 1, "is not a start that is understood; allowed are `24:`"),
        ("0: a fox\nmax_f/2: an owl", 2, 1, "expressions are not evaluated"),
        ("0: a fox\n24*2: an owl", 2, 1, "expressions are not evaluated"),
        ("0: a fox | an owl", 1, 12, "`an owl` has no start while others have"),
        ("a fox | 24: an owl", 1, 1, "`a fox` has no start"),
        ("a fox || an owl", 1, 8, "the prompt of part 2 is empty"),
        ("a fox |", 1, 8, "the prompt of part 2 is empty"),
        ("| a fox", 1, 1, "the prompt of part 1 is empty"),
        ("a {red|blue} fox", 1, 3, "`{red|blue}` is a dynamic prompt"),
    ],
)
def test_errors_say_where(text, line, column, message):
    error = error_of(text)
    assert (error.line, error.column) == (line, column), error
    assert str(error).startswith(f"line {line}, column {column}: ")
    assert message in str(error)


@pytest.mark.parametrize(
    ("text", "missing", "line", "column", "message"),
    [
        ("0: a fox\n50%: an owl", "frames", 2, 1, "`50%:` needs the length of the video"),
        ("0: a fox\nchunk 3: an owl", "chunk", 2, 1, "`chunk 3:` needs the number of frames in a chunk"),
        ("a fox | an owl", "frames", 1, 9, "whose length is not known"),
    ],
)
def test_a_unit_that_needs_to_know_more_says_so(text, missing, line, column, message):
    error = error_of(text, **{missing: None})
    assert (error.line, error.column) == (line, column)
    assert message in str(error)


def test_more_prompts_than_frames():
    error = error_of("a | b | c", frames=2)
    assert error.column == 9
    assert "3 prompts do not fit into 2 frames" in str(error)


def test_an_error_survives_pickling():
    error = pickle.loads(pickle.dumps(error_of("0: a fox\n24:")))
    assert (str(error), error.line) == (str(error_of("0: a fox\n24:")), 2)


# --- blending and the other arguments --------------------------------------------------------------


def test_blend_is_handed_on():
    schedule = parse_schedule("0: a fox\n24: an owl", fps=16, blend=3)
    assert schedule.at(25) == (("a fox", 0.5), ("an owl", 0.5))


def test_a_segment_shorter_than_its_blend_is_pointed_at():
    error = error_of("0: a fox\n24: an owl\n28: a bear", blend=8)
    assert (error.line, error.column) == (2, 1)
    assert "lasts 4 frames, shorter than its blend of 8" in str(error)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fps": 0}, "fps must be a positive number, not 0"),
        ({"fps": float("nan")}, "fps must be a positive number"),
        ({"frames": 0}, "frames must be a whole number from 1 on, not 0"),
        ({"frames": -3}, "frames must be a whole number from 1 on"),
        ({"frames": 2.5}, "frames must be a whole number from 1 on"),
        ({"chunk": 0}, "chunk must be a whole number from 1 on"),
        ({"blend": -1}, "blend must be a whole number from 0 on"),
    ],
)
def test_the_other_arguments_are_checked(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse("a fox", **options)
    assert not isinstance(caught.value, PromptScheduleError)
