"""Chapter 4b: attention, the asymmetric forward, the schedule, and four faults that do not crash."""

import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae.exercises.engine import NotAttempted, Wrong, call, compare, exercise, number, same
from mae.exercises.quiz import Option, Question, add_quiz
from mae.losses import masked_mse, normalize_patches
from mae.masking import Mask, random_mask, take
from mae.model import MAEConfig, MaskedAutoencoder, sincos_positions
from mae.train import TrainConfig, learning_rate


def _attentions(generator: torch.Generator) -> Iterator[dict]:
    """Tokens and weights, first of one head, then of several; T, D and the heads all differ."""
    for B, T, D, heads in ((1, 2, 2, 1), (1, 3, 4, 2), (2, 5, 12, 3), (3, 7, 16, 4)):
        x, qkv, proj = (torch.randn(*size, generator=generator) for size in ((B, T, D), (3 * D, D), (D, D)))
        yield {"x": x, "qkv": qkv * D**-0.5, "proj": proj * D**-0.5, "heads": heads}


def _pytorchs_attention(x: Tensor, qkv: Tensor, proj: Tensor, heads: int) -> Tensor:
    x = x.transpose(0, 1)  # (T, B, D)
    settings = {"training": False, "need_weights": False}
    result, _ = F.multi_head_attention_forward(
        x, x, x, x.shape[2], heads, qkv, None, None, None, False, 0.0, proj, None, **settings
    )
    return result.transpose(0, 1)


def _attention(fault: str) -> Callable:
    """Attention with one fault."""

    def attention(x: Tensor, qkv: Tensor, proj: Tensor, heads: int) -> Tensor:
        B, T, D = x.shape
        heads, d = (1, D) if fault == "one head" else (heads, D // heads)
        y = x @ qkv.T
        if fault.startswith("view"):
            q, k, v = (part.reshape(B, heads, T, d) for part in y.split(D, dim=2))
        elif fault == "interleaved":
            q, k, v = y.view(B, T, heads, 3, d).permute(3, 0, 2, 1, 4)
        else:
            q, k, v = y.view(B, T, 3, heads, d).permute(2, 0, 3, 1, 4)
        variance = {"scale": 1, "width": D, "root": d * d}.get(fault, d)
        scores = (k @ q.mT if fault == "roles" else q @ k.mT) * variance**-0.5
        weights = scores if fault == "softmax" else scores.softmax(dim={"queries": 2, "heads": 1}.get(fault, 3))
        out = weights @ v  # (B, heads, T, d)
        out = out.reshape(B, T, D) if fault in ("merge", "view both") else out.transpose(1, 2).reshape(B, T, D)
        return out if fault == "no projection" else out @ (proj if fault == "transposed" else proj.T)

    return attention


@exercise(
    "real.attention",
    "implement",
    "Attention from matrix products",
    minutes=25,
    hints=(
        "A linear map with weights `w` is `x @ w.T`. Give its result the axes (B, T, 3, heads, d) and bring 3 and the "
        "heads to the front: three tensors (B, heads, T, d). `@` then multiplies the last two axes for all heads.",
        "Scores are (B, heads, T, T), with a row for each token that asks; each row must sum to one. At the end swap "
        "heads and T back before you flatten heads and d to D.",
    ),
    then="time it against `F.scaled_dot_product_attention` with a thousand tokens: which of the two stores the scores?",
)
def attention(answer, generator: torch.Generator) -> str:
    """Scores, softmax over the keys, weighted sums, heads joined, projection."""
    mistakes = {
        "You forgot the scale. The sum over d products grows with d, and the softmax of large numbers puts all weight "
        "on one token.": _attention("scale"),
        "You scale by the whole width D. Each head sums over its own d = D / heads products.": _attention("width"),
        "You divide by d, not by its root. It is the spread of the sum, not its variance, that must be one.": (
            _attention("root")
        ),
        "Your softmax runs over the wrong axis, the tokens that ask. It is each asking token that spreads a weight of "
        "one over those that answer: rows of the scores sum to one.": _attention("queries"),
        "Your softmax runs over the wrong axis, the heads. Heads do not compete; tokens do.": _attention("heads"),
        "There is no softmax: weights must be positive and sum to one for each token that asks.": (
            _attention("softmax")
        ),
        "You let keys ask and queries answer: the scores are transposed.": _attention("roles"),
        "The heads are split wrongly: a `view` to (B, heads, T, d) cuts through the tokens. Split D into heads and d "
        "first, and then swap axes.": _attention("view"),
        "The heads are split wrongly, and joined as wrongly: a `view` can't swap axes. Tokens are mixed "
        "before they are asked.": _attention("view both"),
        "The split is right, but heads are joined wrongly: swap heads and T back before you flatten.": (
            _attention("merge")
        ),
        "You cut the 3·D values as (heads, 3, d). The rows of `qkv` are ordered (3, heads, d): all of q first, then "
        "all of k, then all of v.": _attention("interleaved"),
        "You use one head of full width. Each head has scores of its own.": _attention("one head"),
        "You forgot the projection: it is what lets heads exchange what they found.": _attention("no projection"),
        "Your projection is transposed. Weights are stored (out, in), so a map is `x @ w.T`.": (
            _attention("transposed")
        ),
    }
    verified = compare(answer, _pytorchs_attention, _attentions(generator), mistakes)
    ready_made = {"scaled_dot_product_attention", "multi_head_attention_forward", "MultiheadAttention"}
    if ready_made.intersection(getattr(getattr(answer, "__code__", None), "co_names", ())):
        raise Wrong("The numbers are right, but PyTorch has written it for you. Take matrix products and a softmax.")
    return verified


class Parts(SimpleNamespace):
    """The parts of a model, without the functions that join them."""

    def __repr__(self):
        return f"a model of {len(self.positions)} patches, {self.cls_token.shape[2]} wide"


PARTS = (
    *("patch_embed", "positions", "cls_token", "blocks", "norm"),
    *("decoder_embed", "mask_token", "decoder_positions", "decoder_blocks", "decoder_norm", "decoder_pred"),
)


def _models(generator: torch.Generator) -> Iterator[tuple[MaskedAutoencoder, dict]]:
    """Small models whose every part matters, patches, and indices in any order."""
    for B, grid, K, P, D, depth, decoder_D in (
        (1, (2, 2), 2, 2, 8, 1, 4),
        (2, (2, 3), 2, 5, 8, 2, 12),
        (3, (4, 3), 7, 4, 16, 2, 8),
    ):
        sizes = {"width": D, "depth": depth, "heads": 2, "decoder_width": decoder_D, "decoder_depth": 2}
        config = MAEConfig(grid=grid, patch_values=P, decoder_heads=2, **sizes)
        model = MaskedAutoencoder(config, generator=generator)
        with torch.no_grad():
            for p in model.parameters():
                if p.ndim != 2:  # tokens, norms and biases, which begin at zero, one or near
                    p += 0.5 * torch.randn(p.shape, generator=generator)
        while True:
            order = torch.rand(B, config.num_patches, generator=generator).argsort(dim=1)
            hidden = order[:, K:]
            if (order.argsort(dim=1) != order).any(dim=1).all() and (hidden.diff(dim=1) < 0).any(dim=1).all():
                break
        parts = Parts(**{name: getattr(model, name) for name in PARTS})
        patches = torch.randn(B, config.num_patches, P, generator=generator)
        yield model, {"parts": parts, "patches": patches, "visible": order[:, :K], "hidden": hidden}


def _forward(fault: str) -> Callable:
    """The forward with one fault."""

    def forward(parts: Parts, patches: Tensor, visible: Tensor, hidden: Tensor) -> Tensor:
        m, (B, N, _), K, order = parts, patches.shape, visible.shape[1], torch.cat([visible, hidden], dim=1)
        x = m.patch_embed(take(patches, visible))
        if fault != "no positions":
            x = x + (m.positions[:K] if fault == "first positions" else m.positions[visible])
        x = torch.cat([m.cls_token.expand(B, -1, -1), x], dim=1)
        for block in m.blocks:
            x = block(x)
        x = m.decoder_embed(x if fault == "no norm" else m.norm(x))
        cls, x = x[:, :1], torch.cat([x[:, 1:], m.mask_token.expand(B, N - K, -1)], dim=1)
        places = m.decoder_positions
        if fault == "bare mask tokens":
            x = torch.cat([x[:, :K] + places[visible], x[:, K:]], dim=1)
        elif fault == "positions first":
            x = x + places
        if fault != "shuffled":
            x = take(x, order if fault == "not the inverse" else order.argsort(dim=1))
        if fault not in ("bare mask tokens", "positions first", "no decoder positions"):
            x = x + places
        x = torch.cat([cls, x], dim=1)
        for block in m.decoder_blocks:
            x = block(x)
        x = x if fault == "no decoder norm" else m.decoder_norm(x)
        x = x if fault == "off by one" else x[:, 1:]
        picked = {"all": None, "visible": visible, "image order": hidden.sort(dim=1).values}.get(fault, hidden)
        return m.decoder_pred(x if picked is None else take(x, picked))

    return forward


def _look_for_leaks(answer: Callable, case: dict, generator: torch.Generator) -> None:
    """Hidden pixels change nothing."""
    noise = torch.randn(case["patches"].shape, generator=generator)
    index = case["hidden"][:, :, None].expand(-1, -1, noise.shape[2])
    other = {**case, "patches": case["patches"].scatter(1, index, noise.gather(1, index))}
    before, after = call(answer, case), call(answer, other)
    if isinstance(before, Tensor) and not same(after, before):
        raise Wrong(
            "Hidden patches leak: with other pixels in them your predictions change. The encoder must get the "
            "visible patches only, or the answer travels through attention.",
            {"hidden": case["hidden"], "predictions": before, "with other hidden pixels": after},
        )


def _count_tokens(answer: Callable, model: MaskedAutoencoder, case: dict) -> None:
    """The encoder sees 1 + K tokens, the decoder 1 + N."""
    seen, stacks = {}, {"encoder": model.blocks, "decoder": model.decoder_blocks}
    hooks = [
        stack[0].register_forward_hook(lambda _, x, __, name=name: seen.update({name: x[0].shape[1]}))
        for name, stack in stacks.items()
    ]
    try:
        call(answer, case)
    finally:
        for hook in hooks:
            hook.remove()
    K, N = case["visible"].shape[1], case["patches"].shape[1]
    for name, right, wrong in (
        ("encoder", 1 + K, {K: "the class token is missing"}),
        (
            "decoder",
            1 + N,
            {N: "the class token is lost", 1 + K: "no mask tokens", K: "no mask tokens, no class token"},
        ),
    ):
        if name not in seen:
            raise Wrong(f"The first block of the {name} was never run.")
        if seen[name] != right:
            reason = wrong.get(seen[name], "what stands for hidden patches joins them in the decoder, not here")
            if name == "decoder" and seen[name] not in wrong:
                reason = "visible tokens, mask tokens and the class token, each once"
            raise Wrong(
                f"The {name} gets {seen[name]} tokens where it should get {right}: {reason}.",
                {"K": K, "N": N, "tokens in the encoder": seen["encoder"], "in the decoder": seen.get("decoder")},
            )


def _compare_gradients(answer: Callable, model: MaskedAutoencoder, case: dict, generator: torch.Generator) -> None:
    """All weights learn, as in the model."""
    expected = model(case["patches"], Mask(case["visible"], case["hidden"]))
    weights = torch.randn(expected.shape, generator=generator)
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad((expected * weights).sum(), parameters)
    prediction = call(answer, case)
    if not prediction.requires_grad:
        raise Wrong("Right predictions, but no gradient reaches the weights: such a model can't be trained.")
    own = torch.autograd.grad((prediction * weights).sum(), parameters, allow_unused=True)
    for name, mine, wanted in zip(names, own, gradients, strict=True):
        if mine is None or not same(mine, wanted, rtol=1e-3, atol=1e-4):
            raise Wrong(
                f"Right predictions, but the gradient of `{name}` is {'missing' if mine is None else 'another one'}: "
                "it would not learn. Is a tensor cut off from its history on the way?",
                {f"gradient of {name}": mine, "expected": wanted},
            )


@exercise(
    "real.forward",
    "implement",
    "The asymmetric forward",
    minutes=60,
    hints=(
        "Write the shape behind every line: (B, K, P), (B, K, D), (B, 1 + K, D), then the decoder's width, "
        "(B, 1 + N, ·), (B, M, ·), (B, M, P). `take` and `cat` are all that changes the number of tokens.",
        "Set the class token aside before you append mask tokens, `parts.mask_token.expand(B, M, -1)`. The argsort of "
        "[visible, hidden] says where each place's token stands; `take` with it, and then add positions.",
    ),
    then="leave out the un-shuffle, and gather the positions instead: why are the predictions the same?",
)
def forward(answer, generator: torch.Generator) -> str:
    """Predictions, tokens seen, leaks and gradients are those of the package's model."""
    models, cases = zip(*_models(generator), strict=True)
    for model, case in zip(models, cases, strict=True):
        _look_for_leaks(answer, case, generator)
        _count_tokens(answer, model, case)
    mistakes = {
        "Tokens of the encoder have no positions: it can't tell where in the image a patch was.": (
            _forward("no positions")
        ),
        "Visible patches get the positions 0 … K-1. Each needs that of its own place in the image.": (
            _forward("first positions")
        ),
        "The encoder's last norm is missing.": _forward("no norm"),
        "The decoder has no positions, so that all mask tokens are alike, and so are all predictions.": (
            _forward("no decoder positions")
        ),
        "Mask tokens have no positions: nothing tells one hidden place from another.": _forward("bare mask tokens"),
        "You add the decoder's positions while visible tokens stand first and mask tokens last: each token carries "
        "somebody else's place. The order of the image comes first.": _forward("positions first"),
        "Tokens are never un-shuffled: you look up hidden places among tokens of which the visible ones stand first.": (
            _forward("shuffled")
        ),
        "You shuffle again instead of un-shuffling: that takes the inverse of the order.": _forward("not the inverse"),
        "The decoder's norm is missing.": _forward("no decoder norm"),
        "Off by one: place i stands at i + 1 while the class token is still in front.": _forward("off by one"),
        "You predict every patch. Give back the M hidden ones only.": _forward("all"),
        "You predict the visible patches.": _forward("visible"),
        "The predictions stand in the order of the image, not in that of `hidden`.": _forward("image order"),
    }
    by_parts = {id(case["parts"]): model for case, model in zip(cases, models, strict=True)}
    compare(
        answer,
        lambda parts, patches, visible, hidden: by_parts[id(parts)](patches, Mask(visible, hidden)),
        cases,
        mistakes,
    )
    for model, case in zip(models, cases, strict=True):
        _compare_gradients(answer, model, case, generator)
    return (
        f"{len(cases)} random models: predictions and all gradients are those of `mae.MaskedAutoencoder`, the encoder "
        "sees 1 + K tokens, and hidden pixels reach nothing."
    )


def _decoded(generator: torch.Generator) -> Iterator[dict]:
    """What a head gives for the class token and all places, patches, and hidden places."""
    for B, N, P, M in ((1, 3, 1, 2), (2, 6, 2, 4), (4, 9, 3, 5)):
        decoded = torch.randint(-5, 6, (B, 1 + N, P), generator=generator).float()
        patches = torch.randint(-5, 6, (B, N, P), generator=generator).float()
        yield {"decoded": decoded, "patches": patches, "hidden": random_mask(B, N, M / N, generator=generator).hidden}


def _mse(a: Tensor, b: Tensor) -> Tensor:
    return ((a - b) ** 2).mean()


@exercise(
    "real.bug_targets",
    "find the bug",
    "Digits that slip by a patch",
    minutes=10,
    hints=(
        "Which token stands at `decoded[:, 0]`? And at `decoded[:, 1]`?",
        "`patches` has N places, `decoded` has 1 + N. The same index means the same place only when both begin with "
        "place 0.",
    ),
    then="say in which direction the pictures slip, and what becomes of the end of a row of patches.",
)
def bug_targets(answer, generator: torch.Generator) -> str:
    """The class token goes before places are picked."""
    return compare(
        answer,
        lambda decoded, patches, hidden: _mse(
            *(torch.stack([a[b, i] for b, row in enumerate(hidden) for i in row]) for a in (decoded[:, 1:], patches))
        ),
        _decoded(generator),
        {
            "You shifted the other way: token 0 is the class token, so place i stands at i + 1, not at i - 1.": (
                lambda d, p, h: _mse(take(d, (h - 1).clamp(min=0)), take(p, h))
            ),
            "You padded the patches to fit. Now tokens and patches go together, but the loss is on place i - 1 where "
            "place i is hidden.": lambda d, p, h: _mse(take(d, h), take(F.pad(p, (0, 0, 1, 0)), h)),
            "You moved the targets as well as the predictions, by one each: they still don't meet.": (
                lambda d, p, h: _mse(take(d[:, 1:], h), take(p.roll(1, dims=1), h))
            ),
            "Tokens and patches meet now, but you compare all of them. Only hidden ones count.": (
                lambda d, p, h: _mse(d[:, 1:], p)
            ),
            "You removed the class token twice: once by the slice, once by the index.": (
                lambda d, p, h: _mse(take(d[:, 1:], (h + 1).clamp(max=p.shape[1] - 1)), take(p, h))
            ),
            "You rolled the tokens the wrong way: the first one must go, not come second.": (
                lambda d, p, h: _mse(take(d.roll(1, dims=1), h), take(p, h))
            ),
        },
        unchanged=(
            lambda d, p, h: _mse(take(d, h), take(p, h)),
            "A model trained with it has a fine loss, and its pictures are shifted by a patch.",
        ),
    )


@exercise(
    "real.bug_positions",
    "find the bug",
    "One prediction for all places",
    minutes=10,
    hints=(
        "Print `decoder.positions` of a new `TableDecoder`. When was it last written to?",
        "A loop over parameters meets every parameter, frozen or not. Which of its branches takes the table?",
    ),
    then="the `Decoder` above is safe from this fault without a line of code: what makes a buffer different?",
)
def bug_positions(answer, generator: torch.Generator) -> str:
    """The table survives the initialiser, and the rest is initialised as before."""
    if not isinstance(answer, type):
        raise Wrong("Expected the class `TableDecoder`. Pass its name without calling it.")
    grids = ((2, 2), (2, 3), (3, 4))
    for rows, columns in grids:
        config = MAEConfig(
            grid=(rows, columns),
            patch_values=6,
            width=12,
            depth=1,
            heads=2,
            decoder_width=16,
            decoder_depth=2,
            decoder_heads=2,
        )
        sizes = {"rows": rows, "columns": columns, "P": 6, "D": 16, "depth": 2, "heads": 2, "encoder_D": 12}
        decoder = call(lambda *sizes: answer(*sizes, generator), sizes)
        latent = torch.randn(2, 3, 12, generator=generator)
        order = torch.rand(2, rows * columns, generator=generator).argsort(dim=1)
        visible, hidden = order[:, :2], order[:, 2:]
        prediction = call(decoder, {"latent": latent, "visible": visible, "hidden": hidden})
        table, expected = getattr(decoder, "positions", None), sincos_positions((rows, columns), 16)
        alike = isinstance(prediction, Tensor) and prediction.ndim == 3 and same(prediction[:, 1:], prediction[:, :-1])
        example = {"hidden": hidden, "predictions": prediction}
        if isinstance(table, Tensor) and not table.any() and alike:
            raise NotAttempted(
                "the class still does what it did. Untrained, it predicts one and the same patch for all hidden places."
            )
        if not isinstance(table, Tensor) or table.shape != expected.shape:
            raise Wrong(f"Keep the table as `positions`, {tuple(expected.shape)}: others read it by that name.")
        if not table.any():
            raise Wrong(
                "Predictions differ now, but the table is still all zeros: what tells places apart is something else.",
                example,
            )
        if not same(table, expected):
            raise Wrong(
                "The table is no longer zero, but it isn't sines and cosines either: the initialiser still "
                "overwrites it.",
                {"positions[0]": table[0], "expected": expected[0]},
            )
        if table.requires_grad:
            raise Wrong("The table is trained now. It was frozen: what is right by definition needs no learning.")
        _same_beginning(decoder)
        package = MaskedAutoencoder(config, generator=generator)
        package.load_state_dict({k: v for k, v in decoder.state_dict().items() if k != "positions"}, strict=False)
        right = package.predict(package.decode(latent, Mask(visible, hidden), hidden))
        if not same(prediction, right):
            raise Wrong(
                "Two places get one prediction: the table is right, but is it added to the mask tokens?"
                if alike
                else "The table is right, but the predictions aren't those of the chapter's decoder.",
                {**example, "expected": right},
            )
    return f"{len(grids)} grids: the table is whole and frozen, weights begin as they did, and hidden places differ."


def _same_beginning(decoder: nn.Module) -> None:
    """Everything but the table begins as it did."""
    for name, p in decoder.named_parameters():
        limit = (6 / sum(p.shape)) ** 0.5
        if p.ndim == 2 and name != "positions" and p.numel() > 500 and not 0.95 < p.abs().max() / limit <= 1:
            raise Wrong(f"The table is saved, but `{name}` no longer comes from the Xavier distribution.")
        if name.endswith("bias") and p.any():
            raise Wrong(f"The table is saved, but `{name}` no longer begins at zero.")
        if name.endswith("token") and not 0 < p.abs().max() < 0.2:
            raise Wrong(f"The table is saved, but `{name}` no longer begins small, but not zero.")
        if "norm" in name and name.endswith("weight") and not (p == 1).all():
            raise Wrong(f"The table is saved, but `{name}` no longer begins at one.")


@exercise(
    "real.untrained_loss",
    "predict",
    "The loss before training",
    minutes=3,
    hints=(
        "Prediction and target know nothing of each other. What is the mean of (a - b)² for two independent numbers "
        "of mean 0?",
        "It is the mean of a² plus that of b². The layer norm gives D values of mean square 1; a Xavier weight has "
        "the variance 2 / (D + P), and D of them are summed.",
    ),
    then="print both means in the cells below, on digits, and see whether they add up to the loss.",
)
def untrained_loss(answer, generator: torch.Generator) -> str:
    """The mean square of targets plus that of predictions, by running new models."""
    losses = []
    for _ in range(12):
        config = MAEConfig(
            grid=(4, 4),
            patch_values=49,
            width=64,
            depth=1,
            heads=4,
            decoder_width=64,
            decoder_depth=2,
            decoder_heads=4,
        )
        model = MaskedAutoencoder(config, generator=generator)
        mask = random_mask(16, 16, 0.6, generator=generator)
        patches = normalize_patches(torch.randn(16, 16, 49, generator=generator))[0]
        with torch.no_grad():
            losses.append(masked_mse(model(patches, mask), patches, mask).item())
    measured = sum(losses) / len(losses)
    one = (
        "About one is the loss of predicting zero, or the spread of the predictions alone. An untrained model "
        "predicts numbers that are not zero, and they are wrong in a way of their own."
    )
    zero = (
        "A loss near zero is that of a perfect model. If an untrained one has it, hidden pixels leak: the three checks "
        "below look for that."
    )
    number(answer, measured, 0.4, {one: 1.05, zero: 0.0})
    return f"{len(losses)} new models, run just now, have a mean loss of {measured:.2f}."


def _steps(generator: torch.Generator) -> Iterator[dict]:
    """Steps in the warm-up, at its end, and after it, of runs with and without one."""
    for steps, warmup in ((10, 4), (10, 0), (37, 5), (200, 20), (64, 1)):
        peak = float(torch.rand((), generator=generator)) + 0.5
        after = torch.randint(warmup + 1, steps, (3,), generator=generator).tolist()
        for step in sorted({0, warmup // 2, max(warmup - 1, 0), warmup, *after, steps - 1}):
            yield {"step": step, "steps": steps, "warmup": warmup, "peak": peak}


def _schedule(rise: Callable, share: Callable) -> Callable:
    """A warm-up and a descent, each a function of step, steps and warm-up."""

    def schedule(step: int, steps: int, warmup: int, peak: float) -> float:
        return peak * (rise if step < warmup else share)(step, steps, warmup)

    return schedule


@exercise(
    "real.schedule",
    "implement",
    "Warm up, then half a cosine",
    minutes=10,
    hints=(
        "Two cases: `step < warmup`, and the rest. In the second, which share of the *remaining* steps is done?",
        "With a share t from 0 to 1, half a cosine is (1 + cos(π·t)) / 2: it begins at 1 and ends at 0.",
    ),
    then="plot it for a hundred steps; then for the same number of epochs and twice the batch size.",
)
def schedule(answer, generator: torch.Generator) -> str:
    """A straight line up, and half a cosine down."""

    def half(t: float) -> float:
        return 0.5 * (1 + math.cos(math.pi * t))

    up = lambda s, n, w: (s + 1) / (w + 1)  # noqa: E731
    down = lambda s, n, w: half((s - w) / (n - w))  # noqa: E731
    cosine = lambda s, n, w: 2 * down(s, n, w) - 1  # noqa: E731
    mistakes = {
        "Your cosine runs over all steps, the warm-up included: it is not at its top when the warm-up ends, and the "
        "rate jumps.": _schedule(up, lambda s, n, w: half(s / n)),
        "Your cosine counts from the end of the warm-up, but is as long as the whole run: it never comes down to "
        "zero.": _schedule(up, lambda s, n, w: half((s - w) / n)),
        "A full cosine: the rate comes down by the middle and goes up again.": _schedule(
            up, lambda s, n, w: half(2 * (s - w) / (n - w))
        ),
        "Your cosine goes on below zero: a negative rate climbs. Lift it by one and halve it.": _schedule(up, cosine),
        "A quarter of a cosine: it ends at zero, but steeply. Half a cosine ends flat.": _schedule(
            up, lambda s, n, w: (0.5 * (1 + cosine(s, n, w))) ** 0.5
        ),
        "A straight line down, not a cosine.": _schedule(up, lambda s, n, w: (n - s) / (n - w)),
        "Your lowest rate is a tenth of the peak; here it goes down to zero.": _schedule(
            up, lambda s, n, w: 0.1 + 0.9 * down(s, n, w)
        ),
        "Whole-number division: the rate is zero as long as the warm-up lasts.": _schedule(lambda s, n, w: 0, down),
        "The first step has a rate of zero, so that its batch is computed for nothing. Count steps from one.": (
            _schedule(lambda s, n, w: s / w, down)
        ),
        "Your warm-up is at the peak one step early: it is step `warmup` that has it.": _schedule(
            lambda s, n, w: (s + 1) / w, down
        ),
        "There is no warm-up: the first steps have the full rate.": _schedule(lambda s, n, w: 1, down),
        "There is no warm-up: the cosine begins with the first step.": _schedule(
            lambda s, n, w: half(s / n), lambda s, n, w: half(s / n)
        ),
        "After the warm-up your rate stays at its peak.": _schedule(up, lambda s, n, w: 1),
        "Your rate is zero already in the last step, which is then computed for nothing. Zero is reached after it.": (
            _schedule(up, lambda s, n, w: half((s - w) / (n - 1 - w)))
        ),
    }

    def reference(step: int, steps: int, warmup: int, peak: float) -> float:
        return learning_rate(step, steps, TrainConfig(epochs=1, learning_rate=peak, warmup=warmup / steps))

    return compare(answer, reference, _steps(generator), mistakes)


def _batches(generator: torch.Generator) -> Iterator[dict]:
    """Models and batches that do and don't divide into micro-batches."""
    for B, P, Q, size in ((2, 1, 1, 1), (5, 2, 3, 2), (6, 3, 2, 3), (4, 2, 2, 8), (10, 4, 3, 4)):
        model = nn.Linear(P, Q)
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(torch.randn(p.shape, generator=generator))
        x, y = torch.randn(B, P, generator=generator), torch.randn(B, Q, generator=generator)
        yield {"model": model, "x": x, "y": y, "size": size}


def _flat(loss: Tensor, model: nn.Module) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, list(model.parameters()))])


def _accumulated(weight: Callable[[int, int, int], float], *, only_last: bool = False) -> Callable:
    """The gradient of micro-batches, each weighed by its own length, the batch's and that of a full one."""

    def gradient(model: nn.Module, x: Tensor, y: Tensor, size: int) -> Tensor:
        pairs = list(zip(x.split(size), y.split(size), strict=True))[-only_last:]
        return _flat(sum(weight(len(a), len(x), size) * F.mse_loss(model(a), b) for a, b in pairs), model)

    return gradient


@exercise(
    "real.bug_accumulation",
    "find the bug",
    "Gradients that grow",
    minutes=10,
    hints=(
        "`backward` adds to the gradients that are there. What is the sum of the means of four quarters?",
        "Each micro-batch counts by the share of the batch's examples that it holds; the last one may hold fewer.",
    ),
    then="AdamW hardly minds a gradient that is four times too long. Which line of a training loop does?",
)
def bug_accumulation(answer, generator: torch.Generator) -> str:
    """Micro-batches count by their size."""

    return compare(
        answer,
        lambda model, x, y, size: _flat(F.mse_loss(model(x), y), model),
        _batches(generator),
        {
            "You divide by the number of micro-batches. That is right while they are all of one size; a smaller last "
            "one then counts too much.": _accumulated(lambda n, B, size: 1 / -(-B // size)),
            "You divide by the size of a micro-batch, over which `mse_loss` has averaged already.": (
                _accumulated(lambda n, B, size: 1 / size)
            ),
            "You divide each mean over its own examples once more.": _accumulated(lambda n, B, size: 1 / n),
            "You divide by all examples, but `mse_loss` gives means: give each micro-batch the weight of its own "
            "examples.": _accumulated(lambda n, B, size: 1 / B),
            "You weigh each micro-batch by its examples, but don't divide by those of the batch.": (
                _accumulated(lambda n, B, size: n)
            ),
            "You count the last micro-batch by its share of a full one; the sum still grows with their number.": (
                _accumulated(lambda n, B, size: n / size)
            ),
            "Only the last micro-batch is left: gradients are set to zero between them.": (
                _accumulated(lambda n, B, size: 1, only_last=True)
            ),
            "Only the last micro-batch is left, and counts by its share: gradients are set to zero between them.": (
                _accumulated(lambda n, B, size: n / B, only_last=True)
            ),
        },
        unchanged=(
            _accumulated(lambda n, B, size: 1),
            "Halve the size of the micro-batches, and the gradient is twice as long.",
        ),
    )


add_quiz(
    "real",
    Question(
        "Your loss falls far below that of the mean image in the first epoch. What do you look at first?",
        (
            Option(
                "The learning rate, which must be too high",
                "Too high a rate makes the loss jump or stall, not fall too well.",
            ),
            Option(
                "Whether hidden pixels reach the encoder",
                "To beat the mean image by far, a model must learn to look, which takes time, or see the answer.",
                True,
            ),
            Option(
                "Nothing: a fast start is a good sign",
                "Attention forms slowly. A loss that is too good too soon is the sign of a leak.",
            ),
            Option(
                "The mask ratio, which must be too low",
                "A low ratio makes the task easier, but not within the first epoch.",
            ),
        ),
    ),
    Question(
        "Why are positions kept as a buffer and not as a parameter?",
        (
            Option(
                "A buffer is faster to add to the tokens",
                "Both are tensors on the same device, and are added at the same speed.",
            ),
            Option(
                "A parameter can't hold sines and cosines",
                "It can: the published code keeps them in a parameter that is frozen.",
            ),
            Option(
                "A buffer is drawn anew at every step",
                "Neither is drawn at all: the table is the same in every step.",
            ),
            Option(
                "Initialisers and optimisers do not find it",
                "What loops over parameters passes it by, so nothing can overwrite or train the table.",
                True,
            ),
        ),
    ),
    Question(
        "What would change if positions were added before the un-shuffle?",
        (
            Option(
                "Nothing: addition and gathering can change places",
                "They can if the positions are gathered too. Here row j of the table is added to token j of the "
                "shuffled order.",
            ),
            Option(
                "The code would stop with a wrong shape",
                "The shapes are the same before and after. Nothing crashes, which is why the fault is found late.",
            ),
            Option(
                "Tokens would carry positions of other places",
                "The table is in the order of the image; the tokens, before the un-shuffle, are not.",
                True,
            ),
        ),
    ),
    Question(
        "What does the class token do in pre-training?",
        (
            Option(
                "It takes part in attention, and nothing is asked of it",
                "No loss is on it. It may gather what concerns the whole image, and after training it may be used.",
                True,
            ),
            Option("It is compared with the label", "There is no label in pre-training."),
            Option(
                "It stands for the hidden patches in the encoder",
                "Nothing stands for them there. Mask tokens do, in the decoder.",
            ),
            Option(
                "It tells the decoder which places are hidden",
                "The mask tokens and their positions say that.",
            ),
        ),
    ),
    Question(
        "Weight decay is on matrices only. Which parameters does `p.ndim == 2` leave out?",
        (
            Option(
                "Biases and norms, but not the learned tokens",
                "The tokens are (1, 1, D), which makes three axes: they are left out as well.",
            ),
            Option(
                "Biases, norms and the learned tokens",
                "One axis each for biases and norms, three for the tokens: none of them is pulled towards zero.",
                True,
            ),
            Option(
                "Biases, norms and the patch embedding",
                "The patch embedding is a linear map here; its weights are a matrix (D, P).",
            ),
            Option(
                "Only what is frozen",
                "Frozen or not plays no part in the number of axes.",
            ),
        ),
    ),
)
