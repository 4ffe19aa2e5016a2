"""Wrong answers to the exercises of chapter 4a."""

import torch

from mae.fully_connected import pixel_mask
from wrong_answers import wrong, wrong_value

wrong_value("source.floor_guess", 0.8, "every pixel is kept")
wrong_value("source.floor_guess", 0.5, "an output of nothing but zeros")
wrong_value("source.floor_guess", 0.1, "white pixels, which a ReLU can reach")
wrong_value("source.floor_guess", 0.25, "standard normal target")
wrong_value("source.floor_guess", 0, "an output of −1")
wrong_value("source.floor_guess", 0.6, "too high")


@wrong("source.floor", "above `high` is out of reach too")
def knows_the_lower_end(target, low, high):
    return torch.relu(low - target).square().mean()


@wrong("source.floor", "below `low` is out of reach too")
def knows_the_upper_end(target, low, high):
    return torch.relu(target - high).square().mean()


@wrong("source.floor", "begins at 0")
def still_a_relu(target, low, high):
    best = torch.clamp(target, min=0, max=high)
    return torch.nn.functional.mse_loss(best, target)


@wrong("source.floor", "distance itself")
def absolute(target, low, high):
    return torch.nn.functional.l1_loss(target.clip(low, high), target)


@wrong("source.floor", "values out of reach only")
def mean_of_the_lost(target, low, high):
    lost = torch.cat([target[target < low] - low, target[target > high] - high])
    return (lost**2).mean()


@wrong("source.floor", "not from 0")
def squares_the_target(target, low, high):
    return torch.where((target < low) | (target > high), target, torch.tensor(0.0)).square().mean()


@wrong("source.floor", "how many values")
def counts(target, low, high):
    return 1 - ((target >= low) & (target <= high)).float().mean()


@wrong("source.floor", "take the sum")
def sums(target, low, high):
    return torch.nn.functional.mse_loss(target.clip(low, high), target, reduction="sum")


@wrong("source.floor", "before you square")
def squares_the_mean(target, low, high):
    return (target.clip(low, high) - target).mean() ** 2


@wrong("source.floor", "one number per example")
def one_per_row(target, low, high):
    return ((target.clip(low, high) - target) ** 2).mean(-1)


@wrong("source.floor", "Infinity times zero")
def multiplies_by_where(target, low, high):
    return ((target < low) * (target - low) ** 2 + (target > high) * (target - high) ** 2).mean()


@wrong("source.floor", "changes `target` in place")
def clamps_in_place(target, low, high):
    return ((target.clone() - target.clamp_(low, high)) ** 2).mean()


def posterior(seen, images, keep):
    """Chances of the images, one at a time."""
    chances = []
    for image in images:
        chance = 1.0
        for value, pixel in zip(seen, image, strict=True):
            if value == 0 and pixel != 0:
                chance *= 1 - keep
            elif value != pixel:
                chance = 0.0
        chances.append(chance)
    return torch.tensor(chances)


@wrong("source.minimiser", "the conditional mean of the image")
def forgets_the_target_mask(seen, images, keep, keep_target):
    chances = posterior(seen, images, keep)
    return (chances / chances.sum()) @ images


@wrong("source.minimiser", "input is kept")
def scales_by_the_input(seen, images, keep, keep_target):
    chances = posterior(seen, images, keep)
    return keep * ((chances / chances.sum()) @ images)


@wrong("source.minimiser", "scale by one half")
def always_half(seen, images, keep, keep_target):
    chances = posterior(seen, images, keep)
    return (chances / chances.sum()) @ images / 2


@wrong("source.minimiser", "target's mask hides")
def scales_by_hiding(seen, images, keep, keep_target):
    chances = posterior(seen, images, keep)
    return (1 - keep_target) * ((chances / chances.sum()) @ images)


@wrong("source.minimiser", "both probabilities")
def scales_by_both(seen, images, keep, keep_target):
    chances = posterior(seen, images, keep)
    return keep * keep_target * ((chances / chances.sum()) @ images)


@wrong("source.minimiser", "every image that agrees for equally likely. One with much ink")
def averages_what_agrees(seen, images, keep, keep_target):
    return keep_target * images[posterior(seen, images, keep) > 0].mean(dim=0)


@wrong("source.minimiser", "leave out the target's mask")
def averages_and_forgets(seen, images, keep, keep_target):
    return images[posterior(seen, images, keep) > 0].mean(dim=0)


@wrong("source.minimiser", "mean of all images")
def ignores_what_was_seen(seen, images, keep, keep_target):
    return keep_target * images.mean(0)


@wrong("source.minimiser", "fill in nothing")
def scales_the_input(seen, images, keep, keep_target):
    return seen * keep_target


@wrong("source.minimiser", "exception of the visible pixels")
def copies_the_visible(seen, images, keep, keep_target):
    chances = posterior(seen, images, keep)
    answer = keep_target * ((chances / chances.sum()) @ images)
    answer[seen > 0] = seen[seen > 0]
    return answer


@wrong("source.minimiser", "add up to 1")
def does_not_normalise(seen, images, keep, keep_target):
    return keep_target * (posterior(seen, images, keep) @ images)


@wrong("source.minimiser", "missing pixels are kept")
def weighs_by_keep(seen, images, keep, keep_target):
    chances = posterior(seen, images, 1 - keep)
    return keep_target * ((chances / chances.sum()) @ images)


wrong_value("source.slope", {"slope": 0.5, "stays": 0.16}, "One half is right only")
wrong_value("source.slope", {"slope": 0.7, "stays": 0.16}, "the input's mask")
wrong_value("source.slope", {"slope": 0.14, "stays": 0.16}, "multiply both")
wrong_value("source.slope", {"slope": 0.8, "stays": 0.16}, "how often the target is 0")
wrong_value("source.slope", {"slope": 5, "stays": 0.16}, "a share below 1")
wrong_value("source.slope", {"slope": 0.2, "stays": 0}, "a coin decides")
wrong_value("source.slope", {"slope": 0.2, "stays": 0.2}, "an output of zeros")
wrong_value("source.slope", {"slope": 0.2, "stays": 0.25}, "One quarter")
wrong_value("source.slope", {"slope": 0.2, "stays": 0.04}, "Weigh both cases")
wrong_value("source.slope", {"slope": 0.2, "stays": 0.64}, "How often is it")
wrong_value("source.slope", {"slope": 0.2, "stays": 0.8}, "always the pixel")
wrong_value("source.slope", {"slope": 0.2, "stays": ...}, "Expected a number")
wrong_value("source.slope", 0.2, "two keys")


@wrong("source.bug_mask", "second coin")
def hides_by_another_mask(model, x, generator):
    output = model(x, pixel_mask(x.shape, generator=generator))
    asked = pixel_mask(x.shape, generator=generator) == 0
    return ((output - x) ** 2)[asked].mean()


@wrong("source.bug_mask", "second coin")
def draws_both_beforehand(model, x, generator):
    shown, asked = (pixel_mask(x.shape, generator=generator) for _ in range(2))
    return ((model(x, shown) - x) * asked).pow(2).sum() / asked.sum()


@wrong("source.bug_mask", "count all pixels")
def loss_on_everything(model, x, generator):
    return torch.nn.functional.mse_loss(model(x, pixel_mask(x.shape, generator=generator)), x)


@wrong("source.bug_mask", "count the visible pixels")
def loss_on_the_visible(model, x, generator):
    mask = pixel_mask(x.shape, generator=generator)
    return ((model(x, mask) - x) ** 2 * mask).sum() / mask.sum()


@wrong("source.bug_mask", "still hides the target")
def same_mask_on_the_target(model, x, generator):
    visible = pixel_mask(x.shape, generator=generator)
    prediction = model(x, visible)
    return ((prediction - x * visible) ** 2).mean()


@wrong("source.bug_mask", "should not be asked")
def opposite_mask_on_the_target(model, x, generator):
    visible = pixel_mask(x.shape, generator=generator)
    prediction = model(x, visible)
    return ((prediction - x * (1 - visible)) ** 2).mean()


@wrong("source.bug_mask", "divide by all pixels")
def divides_by_everything(model, x, generator):
    visible = pixel_mask(x.shape, generator=generator)
    return torch.nn.functional.mse_loss(model(x, visible) * (1 - visible), x * (1 - visible))


@wrong("source.bug_mask", "divide by how many")
def adds_up(model, x, generator):
    visible = pixel_mask(x.shape, generator=generator)
    return (model(x, visible) - x)[visible == 0].square().sum()


@wrong("source.bug_mask", "No gradient")
def returns_a_number(model, x, generator):
    visible = pixel_mask(x.shape, generator=generator)
    return (model(x, visible) - x)[visible == 0].square().mean().item()


@wrong("source.bug_mask", "asks the model once")
def predicts_twice(model, x, generator):
    visible = pixel_mask(x.shape, generator=generator)
    return (((model(x, visible) - x) * (1 - model(x, visible))) ** 2).mean()


@wrong("source.bug_mask", "mask of the shape of `x`")
def passes_masked_pixels(model, x, generator):
    visible = pixel_mask(x.shape, generator=generator)
    return ((model(x, x * visible) - x)[visible == 0] ** 2).mean()


wrong_value("source.cures", {"choice": "a", "because": "b"}, "cure memorising")
wrong_value("source.cures", {"choice": "b", "because": "b"}, "the mask that counts")
wrong_value("source.cures", {"choice": "d", "because": "b"}, "stands in its way")
wrong_value("source.cures", {"choice": "c", "because": "a"}, "the two losses here are alike")
wrong_value("source.cures", {"choice": "c", "because": "c"}, "a single one")
wrong_value("source.cures", {"choice": "c", "because": "d"}, "far below")
wrong_value("source.cures", "c", "two keys")


class Sound(torch.nn.Module):
    """A right answer, for others to spoil."""

    last = torch.nn.Identity

    def __init__(self, pixels, code):
        super().__init__()
        self.down = torch.nn.Linear(2 * pixels, 100)
        self.code = torch.nn.Linear(100, code)
        self.up = torch.nn.Linear(code, 100)
        self.out = torch.nn.Sequential(torch.nn.Linear(100, pixels), self.last())

    def forward(self, x, visible):
        return self.layers(torch.cat([x.where(visible == 1, 0), visible.to(x)], dim=1))

    def layers(self, seen):
        return self.out(torch.relu(self.up(self.code(torch.relu(self.down(seen))))))

    def loss(self, x, visible):
        return ((self(x, visible) - x)[visible == 0] ** 2).mean()

    def draw(self, x, keep, generator):
        return (torch.rand(x.shape, generator=generator) < keep).float()

    def learn(self, images, keep, steps, generator):
        optimizer = torch.optim.AdamW(self.parameters(), lr=3e-3)
        for _ in range(steps):
            x = images[torch.randperm(len(images), generator=generator)[:50]]
            optimizer.zero_grad()
            self.loss(x, self.draw(x, keep, generator)).backward()
            optimizer.step()


@wrong("source.mend", "cuts them off")
class EndsInRelu(Sound):
    last = torch.nn.ReLU


@wrong("source.mend", "cuts them off")
class EndsInSigmoid(Sound):
    last = torch.nn.Sigmoid


@wrong("source.mend", "count all pixels")
class LossOnAll(Sound):
    def loss(self, x, visible):
        return torch.nn.functional.mse_loss(self(x, visible), x)


@wrong("source.mend", "count the visible pixels")
class LossOnVisible(Sound):
    def loss(self, x, visible):
        return ((self(x, visible) - x)[visible == 1] ** 2).mean()


@wrong("source.mend", "still hides the target")
class MaskedTarget(Sound):
    def loss(self, x, visible):
        return torch.nn.functional.mse_loss(self(x, visible), x * visible)


@wrong("source.mend", "divide by all pixels")
class DividesByAll(Sound):
    def loss(self, x, visible):
        return ((self(x, visible) - x) * (1 - visible)).square().mean()


@wrong("source.mend", "`loss` answers differently", "mask of its own")
class SecondMask(Sound):
    def loss(self, x, visible):
        return torch.nn.functional.mse_loss(self(x, visible), x * torch.rand(x.shape).round())


@wrong("source.mend", "`forward` answers differently", "the mask is an argument")
class DrawsInForward(Sound):
    def forward(self, x, visible):
        visible = torch.bernoulli(torch.full(x.shape, 0.5))
        return self.layers(torch.cat([x * visible, visible], dim=1))


@wrong("source.mend", "peeks")
class Peeks(Sound):
    def forward(self, x, visible):
        return self.layers(torch.cat([x, visible], dim=1))


@wrong("source.mend", "not the visible ones")
class SeesTheHidden(Sound):
    def forward(self, x, visible):
        return self.layers(torch.cat([x * (1 - visible), visible], dim=1))


@wrong("source.mend", "Hidden and black look the same")
class HiddenIsBlack(Sound):
    def forward(self, x, visible):
        return self.layers(torch.cat([x * visible, x * visible], dim=1))


@wrong("source.mend", "whatever the visible pixels are")
class Blind(Sound):
    def forward(self, x, visible):
        return self.layers(torch.cat([visible, visible], dim=1))


@wrong("source.mend", "no weights", "Python list")
class ListOfLayers(Sound):
    def __init__(self, pixels, code):
        super(Sound, self).__init__()
        self.steps = [torch.nn.Linear(2 * pixels, code), torch.nn.Linear(code, pixels)]

    def layers(self, seen):
        return self.steps[1](self.steps[0](seen))


@wrong("source.mend", "Every step has the same masks")
class OneMaskForAllSteps(Sound):
    def draw(self, x, keep, generator):
        return super().draw(x, keep, torch.Generator().manual_seed(0))


@wrong("source.mend", "one and the same mask")
class OneMaskForTheBatch(Sound):
    def draw(self, x, keep, generator):
        return super().draw(x[:1], keep, generator).expand_as(x)


@wrong("source.mend", "keeps what it should hide")
class KeepsTheWrongOnes(Sound):
    def draw(self, x, keep, generator):
        return super().draw(x, 1 - keep, generator)


@wrong("source.mend", "don't follow `keep`")
class AlwaysHalf(Sound):
    def draw(self, x, keep, generator):
        return super().draw(x, 0.5, generator)


@wrong("source.mend", "not drawn from `generator`")
class GlobalMasks(Sound):
    def draw(self, x, keep, generator):
        return (torch.rand(x.shape) < keep).float()


@wrong("source.mend", "weights are what they were")
class NoStep(Sound):
    def learn(self, images, keep, steps, generator):
        for _ in range(steps):
            x = images[torch.randint(len(images), (64,), generator=generator)]
            self.loss(x, self.draw(x, keep, generator)).backward()


@wrong("source.mend", "gradients zeroed")
class AddsUpGradients(Sound):
    def learn(self, images, keep, steps, generator):
        optimizer = torch.optim.Adam(self.parameters(), lr=2e-3)
        for _ in range(steps):
            x = images[torch.randint(len(images), (64,), generator=generator)]
            self.loss(x, self.draw(x, keep, generator)).backward()
            optimizer.step()


@wrong("source.mend", "3 steps were asked for")
class CountsEpochs(Sound):
    def learn(self, images, keep, steps, generator):
        for _ in range(steps):
            for start in range(0, len(images), 64):
                super().learn(images[start : start + 64], keep, 1, generator)


@wrong("source.mend", "a prediction for each pixel")
class ReturnsTheCode(Sound):
    def layers(self, seen):
        return self.code(torch.relu(self.down(seen)))
