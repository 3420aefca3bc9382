"""The count of a prefix cache's tokens, on requests small enough to count by hand."""

from benches.prefix_reuse import reused


def test_full_blocks_of_what_began_alike_are_reused():
    first, same_start, other = list(range(40)), [*range(33), 99, 98], [7, *range(1, 40)]
    assert reused([first, same_start], 16) == (75, 32)
    assert reused([first, other], 16) == (80, 0), "a block counts only with all tokens before it"


def test_the_last_token_is_always_computed_and_a_part_of_a_block_never_kept():
    assert reused([list(range(32))] * 2, 16) == (64, 16)
    assert reused([list(range(15))] * 2, 16) == (30, 0)
    assert reused([], 16) == (0, 0)
