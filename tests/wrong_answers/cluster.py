"""Wrong answers to the exercises of chapter 8."""

import numpy as np
import torch

from wrong_answers import wrong, wrong_value


def draw(*seeds):
    """Twelve of 49 patches for each of the seeds."""
    drawn = [torch.randperm(49, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(drawn)[:, :12]


def share(batch, rank, size):
    return batch.tensor_split(size)[rank].tolist()


@wrong("cluster.masks", "Process 1 draws the masks of process 0 again")
def leaves_out_the_rank(seed, epoch, batch, rank, size):
    g = torch.Generator()
    g.manual_seed(1000 * seed + 10 * epoch)
    return torch.stack([torch.randperm(49, generator=g)[:12] for _ in batch.tensor_split(size)[rank]])


@wrong("cluster.masks", "another mask if another process draws it")
def still_uses_the_rank(seed, epoch, batch, rank, size):
    return draw(*[hash((seed, epoch, rank, i)) for i in share(batch, rank, size)])


@wrong("cluster.masks", "another mask if another process draws it")
def skips_what_others_draw_but_by_rank(seed, epoch, batch, rank, size):
    g = torch.Generator().manual_seed(1000 * seed + 10 * epoch)
    for _ in range(rank):
        torch.randperm(49, generator=g)
    return torch.stack([torch.randperm(49, generator=g)[:12] for _ in share(batch, rank, size)])


@wrong("cluster.masks", "the place in the batch, not with the example")
def draws_for_the_whole_batch(seed, epoch, batch, rank, size):
    g = torch.Generator().manual_seed(1000 * seed + 10 * epoch)
    everybody = torch.stack([torch.randperm(49, generator=g)[:12] for _ in range(len(batch))])
    return everybody.tensor_split(size)[rank]


@wrong("cluster.masks", "the other examples of its batch")
def seeds_by_the_first_of_the_batch(seed, epoch, batch, rank, size):
    g = torch.Generator().manual_seed(hash((seed, epoch, int(batch[0]))))
    return torch.stack([torch.randperm(49, generator=g)[:12] for _ in batch]).tensor_split(size)[rank]


@wrong("cluster.masks", "one and the same mask")
def one_seed_for_all(seed, epoch, batch, rank, size):
    return draw(*[1000 * seed + 10 * epoch for _ in share(batch, rank, size)])


@wrong("cluster.masks", "in another process's share")
def deals_examples_out_in_turn(seed, epoch, batch, rank, size):
    return draw(*[hash((seed, epoch, i)) for i in batch[rank::size].tolist()])


@wrong("cluster.masks", "masks of the whole batch")
def forgets_the_share(seed, epoch, batch, rank, size):
    return draw(*[hash((seed, epoch, i)) for i in batch.tolist()])


@wrong("cluster.masks", "should differ have the same mask")
def adds_the_three(seed, epoch, batch, rank, size):
    return draw(*[seed + epoch + i for i in share(batch, rank, size)])


@wrong("cluster.masks", "should differ have the same mask")
def replaces_rank_by_example(seed, epoch, batch, rank, size):
    return draw(*[1000 * seed + 10 * epoch + i for i in share(batch, rank, size)])


@wrong("cluster.masks", "should differ have the same mask")
def leaves_room_for_a_small_set(seed, epoch, batch, rank, size):
    return draw(*[seed * 10**8 + epoch * 60_000 + i for i in share(batch, rank, size)])


@wrong("cluster.masks", "should differ have the same mask")
def leaves_room_for_a_million(seed, epoch, batch, rank, size):
    return draw(*[(1000 * seed + epoch) * 1_000_000 + i for i in share(batch, rank, size)])


@wrong("cluster.masks", "should differ have the same mask")
def leaves_room_for_a_hundred_epochs(seed, epoch, batch, rank, size):
    return draw(*[1_000_003 * seed + 100 * i + epoch for i in share(batch, rank, size)])


@wrong("cluster.masks", "should differ have the same mask")
def multiplies(seed, epoch, batch, rank, size):
    return draw(*[(seed + 1) * (epoch + 1) * (i + 1) for i in share(batch, rank, size)])


@wrong("cluster.masks", "Another seed, and all masks are the same", "32 bits")
def shifts_the_seed_out_of_the_word(seed, epoch, batch, rank, size):
    return draw(*[(seed << 40) + (epoch << 21) + i for i in share(batch, rank, size)])


@wrong("cluster.masks", "Another epoch, and all masks are the same")
def forgets_the_epoch(seed, epoch, batch, rank, size):
    return draw(*[hash((seed, i)) for i in share(batch, rank, size)])


@wrong("cluster.masks", "Another seed, and all masks are the same")
def forgets_the_seed(seed, epoch, batch, rank, size):
    return draw(*[hash((epoch, i)) for i in share(batch, rank, size)])


@wrong("cluster.masks", "Called twice")
def seeds_nothing(seed, epoch, batch, rank, size):
    return torch.stack([torch.randperm(49)[:12] for _ in share(batch, rank, size)])


@wrong("cluster.masks", "you seed the global generator")
def seeds_pytorch(seed, epoch, batch, rank, size):
    rows = []
    for i in share(batch, rank, size):
        torch.manual_seed(hash((seed, epoch, i)))
        rows.append(torch.randperm(49)[:12])
    return torch.stack(rows)


@wrong("cluster.masks", "you seed the global generator")
def seeds_numpy(seed, epoch, batch, rank, size):
    rows = []
    for i in share(batch, rank, size):
        np.random.seed([seed, epoch, i])  # noqa: NPY002
        rows.append(np.random.permutation(49)[:12])  # noqa: NPY002
    return torch.tensor(np.array(rows))


@wrong("cluster.masks", "You hash a text")
def hashes_a_text(seed, epoch, batch, rank, size):
    return draw(*[hash(f"{seed}-{epoch}-{i}") for i in share(batch, rank, size)])


@wrong("cluster.masks", "12 different numbers")
def draws_a_patch_twice(seed, epoch, batch, rank, size):
    gs = [torch.Generator().manual_seed(hash((seed, epoch, i))) for i in share(batch, rank, size)]
    return torch.stack([torch.randint(49, (12,), generator=g) for g in gs])


@wrong("cluster.masks", "some patches are visible far more often")
def never_shows_the_last_patches(seed, epoch, batch, rank, size):
    rows = []
    for i in share(batch, rank, size):
        bits = np.random.default_rng((seed, epoch, i)).permutation(40)[:12]
        rows.append(bits)
    return torch.tensor(np.array(rows))


GOOD = {"rate": 1.2e-3, "steps": 500, "seconds": 1.5, "faster": 12.8}
for changes, *parts in (
    ({"rate": 7.5e-5}, "the rate of one GPU alone"),
    ({"rate": 1.5e-4}, "That is the base rate"),
    ({"rate": 2.4e-3}, "multiply the base rate by the processes"),
    ({"rate": 3e-4}, "grows in proportion"),
    ({"rate": 7.5e-5 / 16}, "average their gradients already"),
    ({"steps": 8000}, "how many one GPU takes"),
    ({"steps": 128_000}, "take the same one together"),
    ({"steps": 4000}, "the unit of the rate"),
    ({"steps": 64_000}, "A step takes a batch in each"),
    ({"seconds": 0.375}, "with a fixed batch"),
    ({"seconds": 1.2}, "gradients have to travel"),
    ({"seconds": 1.35}, "one round of the ring"),
    ({"seconds": 1.36}, "once and whole"),
    ({"seconds": 1.52}, "nobody sends the piece"),
    ({"seconds": 3.6}, "Do you count bits?", "whole gradients to all"),
    ({"seconds": 6.0}, "twice"),
    ({"seconds": 2.4}, "means stay at home"),
    ({"seconds": 1.275}, "four for each"),
    ({"seconds": 0.3}, "traffic alone"),
    ({"faster": 16}, "the perfect speed-up"),
    ({"faster": 0.8}, "You compare steps"),
    ({"faster": 20}, "makes the epoch slower"),
    ({"faster": 1 / 12.8}, "share of the old time"),
    ({"faster": ...}, "Expected a number for faster"),
    ({"hours": 3}, "Expected a dictionary"),
):
    wrong_value("cluster.sixteen", GOOD | changes, *parts)
