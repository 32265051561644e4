"""Random numbers that depend on named integers and on nothing else.

It is: a hash from a tuple of integers, such as (seed, member), to a generator's seed, and a context that
seeds torch's CPU generator with it and gives the old state back afterwards.
It is not: a seed for NumPy, Python's `random` or an accelerator; weights are always drawn on the CPU.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def seed_to_int(seed: tuple[int, ...]) -> int:
    """A 63-bit integer from any integers: equal tuples give equal numbers, near tuples unrelated ones."""
    text = ",".join(str(int(part)) for part in seed)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@contextmanager
def seeded(seed: tuple[int, ...]) -> Iterator[None]:
    """Inside, torch's CPU random numbers follow from `seed` alone; outside, the generator is as before.

    Only the CPU generator is touched: `torch.manual_seed` would seed every accelerator too and leave it so.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_to_int(seed))
        yield
