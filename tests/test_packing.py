"""Packing loses nothing: paths spell their sequences, nothing that should be shared is there twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ttsd.backbone.packing import Forest, batches, pack

sequences = st.lists(
    st.builds(
        lambda prompt, tail: (*([7] * prompt), *tail),
        st.sampled_from([0, 3, 9, 20]),
        st.lists(st.integers(0, 2), min_size=1, max_size=15),
    ),
    min_size=1,
    max_size=8,
)


def spelled(forest: Forest, sequence: int) -> tuple[int, ...]:
    return tuple(forest.token_ids[row] for row in forest.rows(sequence))


@given(sequences)
def test_paths_spell_their_sequences(sequences: list[tuple[int, ...]]) -> None:
    forest = pack(sequences)
    assert [spelled(forest, index) for index in range(len(sequences))] == sequences
    for index, path in enumerate(forest.paths):
        assert forest.chain(path[-1]) == path
        assert [forest.positions[row] for row in forest.rows(index)] == list(range(len(sequences[index])))


def test_a_shared_prompt_is_there_once_and_short_agreements_are_not_cut() -> None:
    prompt = tuple(range(100, 150))
    forest = pack([(*prompt, 1, 2, 3), (*prompt, 1, 5), (*prompt, 6)])
    assert forest.size == 50 + 3 + 2 + 1
    assert [len(segment.tokens) for segment in forest.segments] == [50, 3, 2, 1]


def test_nested_sharing() -> None:
    statement, feedback = tuple(range(100, 150)), tuple(range(200, 220))
    forest = pack([(*statement, *feedback, 1), (*statement, *feedback, 2), (*statement, 3)])
    assert forest.size == 50 + 20 + 3
    assert forest.paths == ((0, 1, 2), (0, 1, 3), (0, 4))


def test_equal_sequences_share_everything() -> None:
    assert pack([(1, 2, 3), (1, 2, 3)]).segments == pack([(1, 2, 3)]).segments


def test_a_sequence_may_be_the_beginning_of_another() -> None:
    start = tuple(range(20))
    forest = pack([start, (*start, 99)])
    assert forest.size == 21
    assert spelled(forest, 0) == start


@given(sequences, st.integers(1, 60))
def test_batches_cover_everything_in_order_within_the_budget(sequences: list[tuple[int, ...]], budget: int) -> None:
    parts = list(batches(sequences, budget))
    assert [index for part in parts for index in part] == list(range(len(sequences)))
    for part in parts:
        assert len(part) == 1 or pack(sequences[part.start : part.stop]).size <= budget


def test_nothing_makes_no_batch() -> None:
    assert list(batches([], 10)) == []
