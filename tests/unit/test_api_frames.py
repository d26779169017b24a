"""Frame ranges: read, counted, refused, written and read back."""

import tracemalloc

import pytest
from drqueue.api.frames import (
    COLON,
    FORM,
    MAX_FRAMES,
    MAX_RANGE_TEXT,
    NOTHING_LEFT,
    REVERSED,
    TOO_MANY,
    ZERO_STEP,
    FramesError,
    count_frames,
    format_frames,
    parse_frames,
)
from fileseq import FrameSet
from hypothesis import given
from hypothesis import strategies as st

numbers = st.integers(-300, 300)


@st.composite
def parts(draw: st.DrawFn) -> str:
    """One part of a range that holds."""
    first = draw(numbers)
    kind = draw(st.sampled_from(["single", "range", "x", "y"]))
    if kind == "single":
        return str(first)
    last = first + draw(st.integers(1 if kind == "y" else 0, 100))
    if kind == "range":
        return f"{first}-{last}"
    return f"{first}-{last}{kind}{draw(st.integers(2 if kind == 'y' else 1, 20))}"


ranges = st.lists(parts(), min_size=1, max_size=12).map(",".join)


@given(ranges)
def test_reads_what_fileseq_reads_in_its_order(text: str) -> None:
    assert list(parse_frames(text)) == list(FrameSet(text))


@given(ranges)
def test_counts_before_duplicates_are_removed(text: str) -> None:
    assert count_frames(text) == sum(len(parse_frames(part)) for part in text.split(","))


@given(ranges)
def test_what_is_written_reads_back_to_the_same_frames(text: str) -> None:
    frames = parse_frames(text)
    written = format_frames(frames)
    assert list(parse_frames(written, max_text=10**6)) == list(frames)


@given(st.lists(numbers, unique=True))
def test_any_order_of_frames_reads_back(frames: list[int]) -> None:
    written = format_frames(frames)
    if frames:
        assert list(parse_frames(written, max_text=10**6)) == frames
    else:
        assert written == ""


@given(st.sets(numbers), st.integers(4, 60))
def test_cut_text_fits_and_begins_with_whole_parts(frames: set[int], limit: int) -> None:
    whole = format_frames(sorted(frames))
    cut = format_frames(sorted(frames), max_bytes=limit)
    assert len(cut.encode()) <= limit
    if len(whole) <= limit:
        assert cut == whole
    else:
        kept, mark = cut[:-2], cut[-2:]
        assert mark == ",…"
        assert kept.split(",") == whole.split(",")[: kept.count(",") + 1] or kept == ""


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        ([], ""),
        ([7], "7"),
        (range(1, 6), "1-5"),
        ([1, 2], "1-2"),
        ([1, 3], "1,3"),
        ([1, 3, 5], "1-5x2"),
        ([*range(1, 6), 9, *range(12, 21, 2)], "1-5,9,12-20x2"),
        ([1, 3, 4, 5], "1,3-5"),
        ([5, 4, 3], "5,4,3"),
        ([-5, -4, -3, 0], "-5--3,0"),
        ([1, 5, 2], "1,5,2"),
    ],
)
def test_written_as_a_person_would(frames: list[int], text: str) -> None:
    assert format_frames(frames) == text


BAD_FRAMES = [
    ("", FORM),
    ("abc", FORM),
    ("1-", FORM),
    ("1,,2", FORM),
    (",1", FORM),
    ("1,", FORM),
    ("1 - 5", FORM),
    ("1-5\n", FORM),
    ("1.5", FORM),
    ("+1", FORM),
    ("1-10x-2", FORM),
    ("1-10x02", FORM),
    ("5x2", FORM),
    ("1-10z2", FORM),
    ("123456789", FORM),
    ("１-５", FORM),
    ("1-10:2", COLON),
    ("1:5", COLON),
    ("1-10x0", ZERO_STEP),
    ("1-10y000", ZERO_STEP),
    ("10-1", REVERSED),
    ("1-5,3--3", REVERSED),
    ("10-1x3", REVERSED),
    ("10-1y3", REVERSED),
    ("1-10y1", NOTHING_LEFT),
    ("5-5y2", NOTHING_LEFT),
    ("1-1000001", TOO_MANY),
    ("1-600000,1-600000", TOO_MANY),
    ("1-99999999x50", TOO_MANY),
    ("1-2000002y2", TOO_MANY),
    ("-99999999-99999999", TOO_MANY),
    ("1," * 256 + "1", "513 characters, at most 512"),
]


@pytest.mark.parametrize(("text", "why"), BAD_FRAMES)
def test_refused_with_the_remedy(text: str, why: str) -> None:
    with pytest.raises(FramesError, match="frames") as refusal:
        parse_frames(text)
    assert why in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1-1000000", MAX_FRAMES),
        ("1-2000000y2", MAX_FRAMES),
        ("1-500000,1-500000", MAX_FRAMES),
        ("-99999999-99999999x200", 1_000_000),
        ("-0", 1),
        ("007", 1),
        ("1-10x99", 1),
        ("1-2y99", 1),
    ],
)
def test_the_largest_and_oddest_that_hold(text: str, count: int) -> None:
    assert count_frames(text) == count


def test_a_million_frames_stay_small_in_memory() -> None:
    tracemalloc.start()
    frames = parse_frames("1-1000000")
    many = parse_frames("1-1166666y7")
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(frames) == MAX_FRAMES
    assert len(many) == 999_999
    assert kept < 8 * MAX_FRAMES


def test_a_status_never_outgrows_its_bound() -> None:
    text = format_frames(parse_frames("1-1166666y7"), max_bytes=MAX_RANGE_TEXT)
    assert MAX_RANGE_TEXT - 32 < len(text.encode()) <= MAX_RANGE_TEXT
    assert text.endswith(",…")
