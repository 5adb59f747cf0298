"""The pool of pairs that eyes are trained on alone."""

import torch

from train.warp.eye_pool import POOL_BATCHES, POOL_STEPS, EyePairs, EyePool

COUNT = 2


def numbered(drawn, step):
    """Pairs that carry their step and row in every part."""
    drawn.append(step)
    rows = step // POOL_STEPS * 10.0 + torch.arange(COUNT)  # exact in fp16
    parts = {name: rows[:, None].clone() for name in EyePairs._fields}
    return EyePairs(**parts | {"steady": rows})


def pool_of():
    drawn = []
    return EyePool(lambda step: numbered(drawn, step)), drawn


def at(pool, step):
    return pool.draw(step, torch.Generator().manual_seed(step))


def test_a_batch_of_new_pairs_joins_every_few_steps_and_leaves_when_it_is_old():
    pool, drawn = pool_of()
    seen = {}
    life = POOL_STEPS * POOL_BATCHES
    last = life * 3
    for step in range(last + 1):
        pairs = at(pool, step)
        assert len(pairs.steady) == COUNT and all(torch.equal(part.flatten(), pairs.steady) for part in pairs)
        for number in pairs.steady.tolist():
            seen.setdefault(number // 10 * POOL_STEPS, []).append(step)
    assert drawn == list(range(0, last + 1, POOL_STEPS))  # each once
    assert all(0 <= step - begun < life for begun, steps in seen.items() for step in steps)
    late = [len(steps) for begun, steps in seen.items() if life <= begun < last - life]
    assert abs(sum(late) / len(late) / COUNT - POOL_STEPS) < 1


def test_a_run_that_is_resumed_draws_what_an_uninterrupted_one_does():
    pool, _ = pool_of()
    last = POOL_STEPS * (POOL_BATCHES + 7) - 1
    for step in range(last + 1):
        expected = at(pool, step)
    again, drawn = pool_of()
    assert all(torch.equal(a, b) for a, b in zip(at(again, last), expected, strict=True))
    assert len(drawn) == POOL_BATCHES and max(drawn) == last + 1 - POOL_STEPS
