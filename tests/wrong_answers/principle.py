"""Wrong answers to the exercises of chapter 3."""

import torch

from wrong_answers import wrong, wrong_value


@wrong("principle.unshuffle", "the shuffle again, not its inverse")
def gathers_by_order(shuffled, order):
    return torch.stack([tokens[places] for tokens, places in zip(shuffled, order, strict=True)])


@wrong("principle.unshuffle", "sort by the values")
def sorts_the_tokens(shuffled, order):
    return torch.sort(shuffled, dim=1)[0]


@wrong("principle.unshuffle", "the order of the first")
def uses_one_order_for_all(shuffled, order):
    return shuffled[:, torch.argsort(order[0])]


@wrong("principle.unshuffle", "return the indices")
def returns_the_places(shuffled, order):
    return torch.argsort(order, dim=-1)


@wrong("principle.unshuffle", "IndexError")
def gathers_along_the_batch(shuffled, order):
    return shuffled[order.argsort(dim=1)]


@wrong("principle.unshuffle", "changes `shuffled` in place")
def writes_into_the_input(shuffled, order):
    shuffled.scatter_(1, order[:, :, None].expand_as(shuffled), shuffled.clone())
    return shuffled


wrong_value("principle.keep", {"shuffle": [1, 0, 2, 3], "visible": [0, 1], "restore": [1, 0, 2, 3]}, "is ascending")
wrong_value("principle.keep", {"shuffle": [2, 3, 1, 0], "visible": [2, 3], "restore": [3, 2, 0, 1]}, "at which place")
wrong_value("principle.keep", {"shuffle": (3, 2, 0, 1), "visible": {0, 1}, "restore": [2, 3, 1, 0]}, "end of the row")
wrong_value("principle.keep", {"shuffle": [3, 2, 0, 1], "visible": [3, 2], "restore": [3, 2, 0, 1]}, "shuffle again")
wrong_value("principle.keep", {"shuffle": [3, 2, 0, 1], "visible": [3, 2], "restore": [1, 0, 2, 3]}, "turned the row")
wrong_value("principle.keep", {"shuffle": [3, 2, 0, 1], "visible": [3, 2], "restore": [0, 1, 2, 3]}, "after restoring")
wrong_value("principle.keep", {"shuffle": [3, 2, 0, 1], "visible": 2, "restore": [2, 3, 1, 0]}, "Expected a list")
wrong_value("principle.keep", {"shuffle": [3, 2, 0, 1], "visible": [3, 2]}, "Keep the dictionary")


@wrong("principle.random_mask", "patches with the largest numbers")
def hides_the_smallest(noise, ratio):
    keep = int(noise.shape[1] * (1 - ratio))
    hidden = torch.ones(noise.shape, dtype=torch.bool)
    for row, largest in zip(hidden, noise.topk(keep, dim=1).indices, strict=True):
        row[largest] = False
    return hidden


@wrong("principle.random_mask", "round to the nearest")
def rounds(noise, ratio):
    keep = int(noise.shape[1] * (1 - ratio) + 0.5)
    order = torch.argsort(noise, dim=1)
    return torch.ones_like(noise, dtype=torch.bool).scatter(1, order[:, :keep], False)


@wrong("principle.random_mask", "one patch too many visible")
def counts_hidden_patches_down(noise, ratio):
    order = torch.argsort(noise, dim=1, descending=True)
    hidden = int(ratio * noise.shape[1])
    return torch.zeros_like(noise, dtype=torch.bool).scatter(1, order[:, :hidden], True)


@wrong("principle.random_mask", "numbers of the first example")
def draws_one_mask_for_all(noise, ratio):
    hidden = torch.ones_like(noise, dtype=torch.bool)
    hidden[:, noise[0].argsort()[: int(noise.shape[1] * (1 - ratio))]] = False
    return hidden


@wrong("principle.random_mask", "draw nothing yourself")
def draws_anew(noise, ratio):
    B, N = noise.shape
    order = torch.rand(B, N).argsort(dim=1)
    return torch.ones(B, N, dtype=torch.bool).scatter(1, order[:, : int(N * (1 - ratio))], False)


@wrong("principle.random_mask", "the same whatever the numbers are")
def draws_anew_with_a_seed(noise, ratio):
    B, N = noise.shape
    order = torch.rand(B, N, generator=torch.Generator().manual_seed(0)).argsort(dim=1)
    return torch.ones(B, N, dtype=torch.bool).scatter(1, order[:, : int(N * (1 - ratio))], False)


@wrong("principle.random_mask", "the sorted row that is cut")
def never_unshuffles(noise, ratio):
    hidden = torch.ones(noise.shape, dtype=torch.bool)
    hidden[:, : int(noise.shape[1] * (1 - ratio))] = False
    return hidden


@wrong("principle.random_mask", "took the order for the rank")
def compares_the_order(noise, ratio):
    keep = int(noise.shape[1] * (1 - ratio))
    return torch.argsort(noise, dim=-1) > keep - 1


@wrong("principle.random_mask", "coin of its own")
def tosses_coins(noise, ratio):
    return torch.lt(noise, ratio)


@wrong("principle.random_mask", "threshold")
def cuts_at_a_threshold(noise, ratio):
    return ~(noise < 1 - ratio)


@wrong("principle.random_mask", "True where a patch is hidden")
def marks_the_visible(noise, ratio):
    keep = int(noise.shape[1] * (1 - ratio))
    return noise <= noise.sort(dim=1).values[:, keep - 1 : keep]


@wrong("principle.random_mask", "share that is hidden")
def keeps_the_ratio(noise, ratio):
    visible = noise.argsort(dim=1)[:, : int(ratio * noise.shape[1])]
    return torch.ones_like(noise, dtype=torch.bool).scatter(1, visible, False)


@wrong("principle.random_mask", "Expected shape (1, 5)")
def returns_the_hidden_patches(noise, ratio):
    return noise.argsort(dim=1)[:, int(noise.shape[1] * (1 - ratio)) :]


@wrong("principle.random_mask", "as torch.float32")
def makes_numbers(noise, ratio):
    order = noise.argsort(dim=1)
    return torch.ones_like(noise).scatter(1, order[:, : int(noise.shape[1] * (1 - ratio))], 0)


@wrong("principle.masked_loss", "only hidden ones count")
def loss_on_all_patches(prediction, target, hidden):
    return torch.nn.functional.mse_loss(prediction, target)


@wrong("principle.masked_loss", "took the visible patches")
def loss_on_visible_patches(prediction, target, hidden):
    return torch.nn.functional.mse_loss(prediction[hidden == 0], target[hidden == 0])


@wrong("principle.masked_loss", "still count in the mean")
def blackens_and_averages(prediction, target, hidden):
    keep = hidden.unsqueeze(-1)
    return torch.nn.functional.mse_loss(prediction * keep, target * keep)


@wrong("principle.masked_loss", "divided by the batch")
def divides_by_the_batch(prediction, target, hidden):
    total = 0
    for p, t, h in zip(prediction, target, hidden, strict=True):
        total = total + (p[h] - t[h]).square().mean(dim=1).sum()
    return total / prediction.shape[0]


@wrong("principle.masked_loss", "averaged within each example first")
def averages_examples(prediction, target, hidden):
    each = [(p[h] - t[h]).square().mean() for p, t, h in zip(prediction, target, hidden, strict=True)]
    return torch.stack(each).mean()


@wrong("principle.masked_loss", "averaged within each example first")
def divides_by_the_mean_count_of_each(prediction, target, hidden):
    error = (prediction - target).square().mean(dim=2)
    return ((error * hidden) / hidden.sum(dim=1, keepdim=True)).sum() / len(error)


@wrong("principle.masked_loss", "summed over the values in a patch")
def sums_within_patches(prediction, target, hidden):
    return ((prediction - target).square() * hidden[..., None]).sum() / hidden.sum()


@wrong("principle.masked_loss", "absolute error")
def absolute_error(prediction, target, hidden):
    return torch.nn.functional.l1_loss(prediction[hidden], target[hidden])


@wrong("principle.masked_loss", "one loss per example")
def one_loss_per_example(prediction, target, hidden):
    return torch.stack([(p[h] - t[h]).square().mean() for p, t, h in zip(prediction, target, hidden, strict=True)])


@wrong("principle.masked_loss", "no gradient flows")
def returns_a_number(prediction, target, hidden):
    return (prediction - target).square()[hidden].mean().item()


@wrong("principle.bug_restore", "shuffles it once more")
def gathers_the_mask_by_the_shuffle(model, patches, noise, keep):
    shuffle = noise.argsort(dim=1)
    prediction = model(patches, shuffle[:, :keep])
    hidden = torch.ones(patches.shape[:2])
    hidden[:, :keep] = 0
    hidden = torch.gather(hidden, 1, shuffle)
    error = ((prediction - patches) ** 2).mean(dim=2)
    return (error * hidden).sum() / hidden.sum()


@wrong("principle.bug_restore", "taken out of the loss of all examples")
def clears_the_visible_of_all(model, patches, noise, keep):
    shuffle = noise.argsort(dim=1)
    prediction = model(patches, shuffle[:, :keep])
    hidden = torch.ones(patches.shape[:2])
    hidden[:, shuffle[:, :keep]] = 0
    error = ((prediction - patches) ** 2).mean(dim=2)
    return (error * hidden).sum() / hidden.sum()


@wrong("principle.bug_restore", "still in the order of the shuffle")
def turns_the_mask_around(model, patches, noise, keep):
    shuffle = noise.argsort(dim=1)
    prediction = model(patches, shuffle[:, :keep])
    hidden = torch.zeros(patches.shape[:2])
    hidden[:, :keep] = 1
    error = ((prediction - patches) ** 2).mean(dim=2)
    return (error * hidden).sum() / hidden.sum()


@wrong("principle.bug_restore", "loss is on the visible patches")
def scatters_ones(model, patches, noise, keep):
    shuffle = noise.argsort(dim=1)
    prediction = model(patches, shuffle[:, :keep])
    hidden = torch.zeros(patches.shape[:2]).scatter(1, shuffle[:, :keep], 1.0)
    error = ((prediction - patches) ** 2).mean(dim=2)
    return (error * hidden).sum() / hidden.sum()


@wrong("principle.bug_restore", "hides the symptom")
def drops_the_mask(model, patches, noise, keep):
    return ((model(patches, noise.argsort(dim=1)[:, :keep]) - patches) ** 2).mean()


@wrong("principle.bug_restore", "targets are still in reading order")
def shuffles_the_prediction(model, patches, noise, keep):
    shuffle = noise.argsort(dim=1)
    prediction = model(patches, shuffle[:, :keep])
    prediction = prediction.gather(1, shuffle[:, :, None].expand_as(prediction))
    hidden = torch.ones(patches.shape[:2])
    hidden[:, :keep] = 0
    error = ((prediction - patches) ** 2).mean(dim=2)
    return (error * hidden).sum() / hidden.sum()


@wrong("principle.bug_restore", "prediction is still in reading order")
def shuffles_the_targets(model, patches, noise, keep):
    shuffle = noise.argsort(dim=1)
    prediction = model(patches, shuffle[:, :keep])
    target = patches.gather(1, shuffle[:, :, None].expand_as(prediction))
    return ((prediction - target) ** 2)[:, keep:].mean()


wrong_value("principle.ratio_choice", {"choice": "a", "because": "e"}, "easiest task", "guessed from their neighbours")
wrong_value("principle.ratio_choice", {"choice": "b", "because": "g"}, "one data set, one model")
wrong_value("principle.ratio_choice", {"choice": "d", "because": "h"}, "hardest task is not the best")
wrong_value("principle.ratio_choice", {"choice": "c", "because": "e"}, "tasks of different difficulty")
wrong_value("principle.ratio_choice", {"choice": "C", "because": "g"}, "where your peak is")
wrong_value("principle.ratio_choice", {"choice": "c", "because": "h"}, "against it")
wrong_value("principle.ratio_choice", {"choice": 0.75, "because": "f"}, "Expected one of")


def blocks(batch, grid, count, sides, generator, *, place=None, size=None, cut=True, counted_twice=False):
    """Rectangles, with one thing done as told."""
    rows, columns = grid
    hidden = torch.zeros(batch, rows, columns, dtype=torch.bool)
    for example in hidden:
        total = 0
        while total < count:
            height, width = (
                size() if size else torch.randint(sides[0], sides[1] + 1, (2,), generator=generator).tolist()
            )
            if place:
                top, left = place(rows, columns, height, width)
            else:
                top = int(torch.randint(rows - height + 1, (), generator=generator))
                left = int(torch.randint(columns - width + 1, (), generator=generator))
            for r in range(top, min(top + height, rows)):
                for c in range(left, min(left + width, columns)):
                    if (total < count or not cut) and (counted_twice or not example[r, c]):
                        example[r, c] = True
                        total += 1
    return hidden


def random_int(generator, low, end):
    return int(torch.randint(low, end, (), generator=generator))


@wrong("principle.block_mask", "last rectangle must be cut")
def overshoots(batch, grid, count, sides, generator):
    return blocks(batch, grid, count, sides, generator, cut=False)


@wrong("principle.block_mask", "does not count twice")
def counts_overlaps_twice(batch, grid, count, sides, generator):
    return blocks(batch, grid, count, sides, generator, counted_twice=True)


@wrong("principle.block_mask", "Fewer patches", "not left out")
def stops_before_the_last(batch, grid, count, sides, generator):
    hidden = torch.zeros(batch, *grid, dtype=torch.bool)
    for example in hidden:
        while True:
            height, width = (random_int(generator, sides[0], sides[1] + 1) for _ in range(2))
            top = random_int(generator, 0, grid[0] - height + 1)
            left = random_int(generator, 0, grid[1] - width + 1)
            trial = example.clone()
            trial[top : top + height, left : left + width] = True
            if trial.sum() > count:
                break
            example.copy_(trial)
    return hidden


@wrong("principle.block_mask", "single patches")
def hides_single_patches(batch, grid, count, sides, generator):
    order = torch.rand(batch, grid[0] * grid[1], generator=generator).argsort(dim=1)
    hidden = torch.zeros(batch, grid[0] * grid[1], dtype=torch.bool).scatter(1, order[:, :count], True)
    return hidden.view(batch, *grid)


@wrong("principle.block_mask", "All examples have the same mask")
def one_mask_for_all(batch, grid, count, sides, generator):
    return blocks(1, grid, count, sides, generator).repeat(batch, 1, 1)


@wrong("principle.block_mask", "two different masks")
def draws_from_the_global_generator(batch, grid, count, sides, generator):
    return blocks(batch, grid, count, sides, None)


@wrong("principle.block_mask", "different seeds gave the same masks")
def seeds_by_itself(batch, grid, count, sides, generator):
    return blocks(batch, grid, count, sides, torch.Generator().manual_seed(42))


@wrong("principle.block_mask", "let the generator go on")
def starts_the_generator_again(batch, grid, count, sides, generator):
    return blocks(batch, grid, count, sides, torch.Generator().manual_seed(generator.initial_seed()))


@wrong("principle.block_mask", "last row or the last column")
def leaves_out_the_last_place(batch, grid, count, sides, generator):
    def place(rows, columns, height, width):
        return random_int(generator, 0, rows - height), random_int(generator, 0, columns - width)

    return blocks(batch, grid, count, sides, generator, place=place)


@wrong("principle.block_mask", "Some patches are never hidden")
def places_on_the_diagonal(batch, grid, count, sides, generator):
    def place(rows, columns, height, width):
        corner = torch.rand((), generator=generator)
        return round(float(corner) * (rows - height)), round(float(corner) * (columns - width))

    return blocks(batch, grid, count, sides, generator, place=place)


@wrong("principle.block_mask", "All rectangles are squares")
def draws_squares(batch, grid, count, sides, generator):
    def size():
        return [random_int(generator, sides[0], sides[1] + 1)] * 2

    return blocks(batch, grid, count, sides, generator, size=size)


@wrong("principle.block_mask", "No rectangle is", "leaves out its upper end")
def leaves_out_the_longest_side(batch, grid, count, sides, generator):
    def size():
        return [random_int(generator, sides[0], max(sides[1], sides[0] + 1)) for _ in range(2)]

    return blocks(batch, grid, count, sides, generator, size=size)


@wrong("principle.block_mask", "too large")
def hides_one_large_rectangle(batch, grid, count, sides, generator):
    def size():
        side = min(int(count**0.5) + 1, *grid)
        return side, side

    return blocks(batch, grid, count, sides, generator, size=size)


@wrong("principle.block_mask", "too thin")
def hides_strips(batch, grid, count, sides, generator):
    def size():
        return 1, random_int(generator, sides[0], sides[1] + 1)

    return blocks(batch, grid, count, sides, generator, size=size)


@wrong("principle.block_mask", "lose a part")
def lets_rectangles_stick_out(batch, grid, count, sides, generator):
    def place(rows, columns, height, width):
        return random_int(generator, 0, rows), random_int(generator, 0, columns)

    return blocks(batch, grid, count, sides, generator, place=place)


@wrong("principle.block_mask", "Expected a tensor of shape")
def returns_a_sequence(batch, grid, count, sides, generator):
    return blocks(batch, grid, count, sides, generator).flatten(1)


@wrong("principle.block_mask", "no rectangles")
def uncovers_at_random(batch, grid, count, sides, generator):
    hidden = blocks(batch, grid, min(2 * count, grid[0] * grid[1]), sides, generator)
    for example in hidden.view(batch, -1):
        places = example.nonzero()[:, 0]
        example[places[torch.randperm(len(places), generator=generator)[count:]]] = False
    return hidden


@wrong("principle.normalized_target", "divides by P − 1")
def biased_variance(patches):
    mean, variance = patches.mean(dim=-1, keepdim=True), patches.var(dim=-1, keepdim=True, unbiased=False)
    return (patches - mean) / torch.sqrt(variance + 1e-6)


@wrong("principle.normalized_target", "divides by P − 1")
def layer_norm(patches):
    return torch.nn.functional.layer_norm(patches, patches.shape[-1:], eps=1e-6)


@wrong("principle.normalized_target", "over a whole image")
def over_the_image(patches):
    flat = patches.flatten(1)
    mean, variance = flat.mean(dim=1), flat.var(dim=1)
    return (patches - mean[:, None, None]) / (variance[:, None, None] + 1e-6).sqrt()


@wrong("principle.normalized_target", "over the whole batch")
def over_the_batch(patches):
    return (patches - patches.mean()) / (patches.var() + 1e-6).sqrt()


@wrong("principle.normalized_target", "over the patches, for each value apart")
def over_the_wrong_axis(patches):
    return (patches - patches.mean(1, keepdim=True)) / (patches.var(1, keepdim=True) + 1e-6).sqrt()


@wrong("principle.normalized_target", "under the root")
def adds_to_the_deviation(patches):
    return (patches - patches.mean(-1, keepdim=True)) / (patches.std(-1, keepdim=True) + 1e-6)


@wrong("principle.normalized_target", "NaN or infinity")
def forgets_flat_patches(patches):
    return (patches - patches.mean(-1, keepdim=True)) / patches.std(-1, keepdim=True)


@wrong("principle.normalized_target", "divide by the variance")
def divides_by_the_variance(patches):
    variance, mean = torch.var_mean(patches, dim=2, keepdim=True)
    return (patches - mean) / (variance + 1e-6)


@wrong("principle.normalized_target", "from 0 to 1")
def stretches(patches):
    low, high = patches.min(2, keepdim=True).values, patches.max(2, keepdim=True).values
    return (patches - low) / (high - low + 1e-6)


@wrong("principle.normalized_target", "changes `patches` in place")
def centres_in_place(patches):
    patches -= patches.mean(2, keepdim=True)
    return patches / (patches.var(2, keepdim=True) + 1e-6).sqrt()


def moments(patches):
    return patches.mean(2, keepdim=True), (patches.var(2, keepdim=True) + 1e-6).sqrt()


@wrong("principle.to_pixels", "This leaks")
def uses_the_true_statistics(prediction, patches, hidden):
    mean, std = moments(patches)
    return torch.where(hidden[:, :, None], prediction * std + mean, patches)


@wrong("principle.to_pixels", "This leaks")
def averages_over_all_patches(prediction, patches, hidden):
    mean, std = (m.mean(dim=1, keepdim=True) for m in moments(patches))
    return torch.where(hidden[:, :, None], prediction * std + mean, patches)


@wrong("principle.to_pixels", "This leaks")
def pastes_the_hidden_patches(prediction, patches, hidden):
    rows = []
    for guess, patch, h in zip(prediction, patches, hidden, strict=True):
        mean, std = (m[0] for m in moments(patch[None]))
        rows.append(torch.where(h[:, None], patch, guess * std[~h].mean() + mean[~h].mean()))
    return torch.stack(rows)


@wrong("principle.to_pixels", "whole batch")
def averages_over_the_batch(prediction, patches, hidden):
    visible = patches[~hidden]  # (visible patches of all examples, P)
    mean, std = visible.mean(), (visible.var(dim=1) + 1e-6).sqrt().mean()
    return torch.where(hidden[:, :, None], prediction * std + mean, patches)


@wrong("principle.to_pixels", "divide by N")
def divides_by_all_patches(prediction, patches, hidden):
    visible = (~hidden).float()[:, :, None]
    mean, std = ((m * visible).mean(dim=1, keepdim=True) for m in moments(patches))
    return torch.where(hidden[:, :, None], prediction * std + mean, patches)


@wrong("principle.to_pixels", "paste them")
def pastes_nothing(prediction, patches, hidden):
    rows = []
    for guess, patch, h in zip(prediction, patches, hidden, strict=True):
        mean, std = (m[0] for m in moments(patch[None]))
        rows.append(guess * std[~h].mean() + mean[~h].mean())
    return torch.stack(rows)


@wrong("principle.to_pixels", "do not multiply by a deviation")
def adds_the_mean_only(prediction, patches, hidden):
    result = patches.clone()
    for b, h in enumerate(hidden):
        result[b, h] = prediction[b, h] + patches[b, ~h].mean()
    return result


@wrong("principle.to_pixels", "how patches differ from each other")
def pools_all_visible_pixels(prediction, patches, hidden):
    result = patches.clone()
    for b, h in enumerate(hidden):
        seen = patches[b, ~h]
        result[b, h] = prediction[b, h] * seen.std() + seen.mean()
    return result
