"""Wrong answers to the exercises of chapter 4b."""

import math
from pathlib import Path

import nbformat
import torch
import torch.nn.functional as F
from torch import nn

from mae.masking import take
from wrong_answers import wrong, wrong_value

# The chapter's own definitions, of which readers' classes are made.
NOTEBOOK = Path(__file__).parents[2] / "book" / "04b_real_mae.ipynb"
CHAPTER = {"__name__": "chapter"}
for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
    if "definition" in cell.metadata.get("tags", []):
        exec(cell.source, CHAPTER)


def heads_of(y, heads):
    B, T, D = y.shape
    return y.reshape(B, T, heads, D // heads).transpose(1, 2)


def join(y):
    return y.transpose(1, 2).flatten(2)


@wrong("real.attention", "You forgot the scale")
def attention_without_a_scale(x, qkv, proj, heads):
    q, k, v = (heads_of(y, heads) for y in F.linear(x, qkv).chunk(3, dim=-1))
    return F.linear(join((q @ k.transpose(-1, -2)).softmax(-1) @ v), proj)


@wrong("real.attention", "scale by the whole width")
def attention_scaled_by_the_width(x, qkv, proj, heads):
    q, k, v = (heads_of(y, heads) for y in F.linear(x, qkv).chunk(3, dim=-1))
    scores = q @ k.transpose(-1, -2) / math.sqrt(x.shape[-1])
    return F.linear(join(scores.softmax(-1) @ v), proj)


@wrong("real.attention", "divide by d, not by its root")
def attention_without_the_root(x, qkv, proj, heads):
    q, k, v = (heads_of(y, heads) for y in F.linear(x, qkv).chunk(3, dim=-1))
    scores = q @ k.transpose(-1, -2) / q.shape[-1]
    return F.linear(join(scores.softmax(-1) @ v), proj)


@wrong("real.attention", "softmax runs over the wrong axis", "rows of the scores")
def attention_normalised_over_queries(x, qkv, proj, heads):
    q, k, v = (heads_of(y, heads) for y in F.linear(x, qkv).chunk(3, dim=-1))
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    return F.linear(join(scores.softmax(-2) @ v), proj)


@wrong("real.attention", "Heads do not compete")
def attention_normalised_over_heads(x, qkv, proj, heads):
    q, k, v = (heads_of(y, heads) for y in F.linear(x, qkv).chunk(3, dim=-1))
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    return F.linear(join(F.softmax(scores, dim=1) @ v), proj)


@wrong("real.attention", "a `view` to (B, heads, T, d) cuts through the tokens")
def attention_split_by_a_view(x, qkv, proj, heads):
    B, T, D = x.shape
    q, k, v = (y.reshape(B, heads, T, D // heads) for y in F.linear(x, qkv).chunk(3, dim=-1))
    scores = q @ k.transpose(-1, -2) / math.sqrt(D // heads)
    return F.linear(join(scores.softmax(-1) @ v), proj)


@wrong("real.attention", "split wrongly, and joined as wrongly")
def attention_split_and_joined_by_views(x, qkv, proj, heads):
    B, T, D = x.shape
    q, k, v = (y.reshape(B, heads, T, D // heads) for y in F.linear(x, qkv).chunk(3, dim=-1))
    scores = q @ k.transpose(-1, -2) / math.sqrt(D // heads)
    return F.linear((scores.softmax(-1) @ v).reshape(B, T, D), proj)


@wrong("real.attention", "heads are joined wrongly")
def attention_joined_without_a_transpose(x, qkv, proj, heads):
    q, k, v = (heads_of(y, heads) for y in F.linear(x, qkv).chunk(3, dim=-1))
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    return F.linear((scores.softmax(-1) @ v).reshape(x.shape), proj)


@wrong("real.attention", "ordered (3, heads, d)")
def attention_with_interleaved_weights(x, qkv, proj, heads):
    B, T, D = x.shape
    q, k, v = F.linear(x, qkv).reshape(B, T, heads, 3 * D // heads).transpose(1, 2).chunk(3, dim=-1)
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    return F.linear(join(scores.softmax(-1) @ v), proj)


@wrong("real.attention", "one head of full width")
def attention_without_heads(x, qkv, proj, heads):
    q, k, v = F.linear(x, qkv).chunk(3, dim=-1)
    return F.linear((q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1) @ v, proj)


@wrong("real.attention", "forgot the projection")
def attention_without_projection(x, qkv, proj, heads):
    q, k, v = (heads_of(y, heads) for y in F.linear(x, qkv).chunk(3, dim=-1))
    return join((q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1) @ v)


@wrong("real.attention", "Your projection is transposed")
def attention_with_a_transposed_projection(x, qkv, proj, heads):
    q, k, v = (heads_of(y, heads) for y in F.linear(x, qkv).chunk(3, dim=-1))
    return join((q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1) @ v) @ proj


@wrong("real.attention", "no softmax")
def attention_that_is_linear(x, qkv, proj, heads):
    q, k, v = (heads_of(y, heads) for y in F.linear(x, qkv).chunk(3, dim=-1))
    return F.linear(join(q @ k.mT / math.sqrt(q.shape[-1]) @ v), proj)


@wrong("real.attention", "let keys ask")
def attention_with_roles_exchanged(x, qkv, proj, heads):
    k, q, v = (heads_of(y, heads) for y in F.linear(x, qkv).chunk(3, dim=-1))
    return F.linear(join((q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1) @ v), proj)


@wrong("real.attention", "RuntimeError")
def attention_with_transposed_weights(x, qkv, proj, heads):
    q, k, v = (heads_of(y, heads) for y in (x @ qkv).chunk(3, dim=-1))
    return join((q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1) @ v) @ proj


@wrong("real.attention", "PyTorch has written it")
def attention_by_one_call(x, qkv, proj, heads):
    q, k, v = (heads_of(y, heads) for y in F.linear(x, qkv).chunk(3, dim=-1))
    return F.linear(join(F.scaled_dot_product_attention(q, k, v)), proj)


def encode(parts, patches, places):
    """The encoder, on the patches at the given places."""
    x = parts.patch_embed(take(patches, places)) + parts.positions[places]
    x = torch.cat((parts.cls_token.repeat(len(x), 1, 1), x), dim=1)
    return parts.norm(nn.Sequential(*parts.blocks)(x))


def decode(parts, x):
    """The decoder's blocks and norm, the class token removed."""
    return parts.decoder_norm(nn.Sequential(*parts.decoder_blocks)(x))[:, 1:]


def back_in_place(parts, latent, visible, hidden):
    """Class token, and tokens in the order of the image, without positions."""
    y = parts.decoder_embed(latent)
    full = parts.mask_token.repeat(len(y), visible.shape[1] + hidden.shape[1], 1)
    return y[:, :1], full.scatter(1, visible[:, :, None].expand(-1, -1, y.shape[2]), y[:, 1:])


@wrong("real.forward", "Hidden patches leak")
def forward_that_encodes_everything(parts, patches, visible, hidden):
    everything = torch.arange(patches.shape[1]).expand(len(patches), -1)
    latent = encode(parts, patches, everything)
    latent = torch.cat([latent[:, :1], take(latent[:, 1:], visible)], dim=1)
    cls, x = back_in_place(parts, latent, visible, hidden)
    x = decode(parts, torch.cat([cls, x + parts.decoder_positions], dim=1))
    return parts.decoder_pred(take(x, hidden))


@wrong("real.forward", "The encoder gets 5 tokens where it should get 3")
def forward_that_blackens(parts, patches, visible, hidden):
    black = patches.scatter(1, hidden[:, :, None].expand(-1, -1, patches.shape[2]), 0.0)
    return forward_that_encodes_everything(parts, black, visible, hidden)


@wrong("real.forward", "The encoder gets 2 tokens", "class token is missing")
def forward_without_a_class_token(parts, patches, visible, hidden):
    x = parts.patch_embed(take(patches, visible)) + parts.positions[visible]
    latent = parts.norm(nn.Sequential(*parts.blocks)(x))
    cls, x = back_in_place(parts, torch.cat([latent[:, :1], latent], dim=1), visible, hidden)
    x = decode(parts, torch.cat([cls, x + parts.decoder_positions], dim=1))
    return parts.decoder_pred(take(x, hidden))


@wrong("real.forward", "The decoder gets 4 tokens", "class token is lost")
def forward_that_drops_the_class_token(parts, patches, visible, hidden):
    _, x = back_in_place(parts, encode(parts, patches, visible), visible, hidden)
    x = nn.Sequential(*parts.decoder_blocks)(x + parts.decoder_positions)
    return parts.decoder_pred(take(parts.decoder_norm(x), hidden))


@wrong("real.forward", "The decoder gets 3 tokens", "no mask tokens")
def forward_without_mask_tokens(parts, patches, visible, hidden):
    x = decode(parts, parts.decoder_embed(encode(parts, patches, visible)))
    return parts.decoder_pred(x.mean(dim=1, keepdim=True).expand(-1, hidden.shape[1], -1))


@wrong("real.forward", "Tokens of the encoder have no positions")
def forward_without_positions(parts, patches, visible, hidden):
    x = parts.patch_embed(patches.gather(1, visible[:, :, None].expand(-1, -1, patches.shape[2])))
    x = torch.cat((parts.cls_token.repeat(len(x), 1, 1), x), dim=1)
    cls, x = back_in_place(parts, parts.norm(nn.Sequential(*parts.blocks)(x)), visible, hidden)
    x = decode(parts, torch.cat([cls, x + parts.decoder_positions], dim=1))
    return parts.decoder_pred(take(x, hidden))


@wrong("real.forward", "the positions 0 … K-1")
def forward_with_the_first_positions(parts, patches, visible, hidden):
    x = parts.patch_embed(take(patches, visible))
    x = torch.cat((parts.cls_token.repeat(len(x), 1, 1), x + parts.positions[: x.shape[1]]), dim=1)
    cls, x = back_in_place(parts, parts.norm(nn.Sequential(*parts.blocks)(x)), visible, hidden)
    x = decode(parts, torch.cat([cls, x + parts.decoder_positions], dim=1))
    return parts.decoder_pred(take(x, hidden))


@wrong("real.forward", "Mask tokens have no positions")
def forward_with_bare_mask_tokens(parts, patches, visible, hidden):
    cls, x = back_in_place(parts, encode(parts, patches, visible), visible, hidden)
    places = torch.zeros_like(x).index_add(1, torch.arange(x.shape[1]), parts.decoder_positions.expand_as(x))
    places = places.scatter(1, hidden[:, :, None].expand(-1, -1, x.shape[2]), 0.0)
    x = decode(parts, torch.cat([cls, x + places], dim=1))
    return parts.decoder_pred(take(x, hidden))


@wrong("real.forward", "The decoder has no positions")
def forward_without_decoder_positions(parts, patches, visible, hidden):
    x = decode(parts, torch.cat(back_in_place(parts, encode(parts, patches, visible), visible, hidden), dim=1))
    return parts.decoder_pred(take(x, hidden))


@wrong("real.forward", "Tokens are never un-shuffled", "visible ones stand first")
def forward_never_unshuffled(parts, patches, visible, hidden):
    y = parts.decoder_embed(encode(parts, patches, visible))
    y = torch.cat([y, parts.mask_token.repeat(*hidden.shape, 1)], dim=1)
    x = decode(parts, torch.cat([y[:, :1], y[:, 1:] + parts.decoder_positions], dim=1))
    return parts.decoder_pred(take(x, hidden))


@wrong("real.forward", "somebody else's place")
def forward_never_unshuffled_last(parts, patches, visible, hidden):
    y = parts.decoder_embed(encode(parts, patches, visible))
    y = torch.cat([y, parts.mask_token.repeat(*hidden.shape, 1)], dim=1)
    x = decode(parts, torch.cat([y[:, :1], y[:, 1:] + parts.decoder_positions], dim=1))
    return parts.decoder_pred(x[:, -hidden.shape[1] :])


@wrong("real.forward", "somebody else's place")
def forward_with_positions_too_early(parts, patches, visible, hidden):
    y = parts.decoder_embed(encode(parts, patches, visible))
    x = torch.cat([y[:, 1:], parts.mask_token.repeat(*hidden.shape, 1)], dim=1) + parts.decoder_positions
    places = torch.cat([visible, hidden], dim=1)
    x = torch.zeros_like(x).scatter(1, places[:, :, None].expand_as(x), x)
    return parts.decoder_pred(take(decode(parts, torch.cat([y[:, :1], x], dim=1)), hidden))


@wrong("real.forward", "shuffle again")
def forward_shuffled_twice(parts, patches, visible, hidden):
    y = parts.decoder_embed(encode(parts, patches, visible))
    x = torch.cat([y[:, 1:], parts.mask_token.repeat(*hidden.shape, 1)], dim=1)
    x = torch.stack([a[b] for a, b in zip(x, torch.cat([visible, hidden], dim=1), strict=True)])
    x = decode(parts, torch.cat([y[:, :1], x + parts.decoder_positions], dim=1))
    return parts.decoder_pred(take(x, hidden))


@wrong("real.forward", "Off by one")
def forward_off_by_one(parts, patches, visible, hidden):
    cls, x = back_in_place(parts, encode(parts, patches, visible), visible, hidden)
    x = nn.Sequential(*parts.decoder_blocks)(torch.cat([cls, x + parts.decoder_positions], dim=1))
    return parts.decoder_pred(parts.decoder_norm(take(x, hidden)))


@wrong("real.forward", "The encoder's last norm is missing")
def forward_without_the_encoders_norm(parts, patches, visible, hidden):
    bare = type(parts)(**{**vars(parts), "norm": nn.Identity()})
    return take(forward_of_all(bare, patches, visible, hidden), hidden)


@wrong("real.forward", "The decoder's norm is missing")
def forward_without_the_decoders_norm(parts, patches, visible, hidden):
    bare = type(parts)(**{**vars(parts), "decoder_norm": nn.Identity()})
    return take(forward_of_all(bare, patches, visible, hidden), hidden)


@wrong("real.forward", "You predict the visible patches")
def forward_of_what_it_sees(parts, patches, visible, hidden):
    return take(forward_of_all(parts, patches, visible, hidden), visible)


@wrong("real.forward", "You predict every patch")
def forward_of_all(parts, patches, visible, hidden):
    cls, x = back_in_place(parts, encode(parts, patches, visible), visible, hidden)
    return parts.decoder_pred(decode(parts, torch.cat([cls, x + parts.decoder_positions], dim=1)))


@wrong("real.forward", "the order of the image")
def forward_in_the_order_of_the_image(parts, patches, visible, hidden):
    everything = forward_of_all(parts, patches, visible, hidden)
    is_hidden = torch.zeros(everything.shape[:2], dtype=torch.bool).scatter(1, hidden, True)
    return everything[is_hidden].view(*hidden.shape, -1)


@wrong("real.forward", "no gradient reaches the weights")
@torch.no_grad()
def forward_without_gradients(parts, patches, visible, hidden):
    return take(forward_of_all(parts, patches, visible, hidden), hidden)


@wrong("real.forward", "gradient of `cls_token` is missing")
def forward_that_cuts_off_the_encoder(parts, patches, visible, hidden):
    cls, x = back_in_place(parts, encode(parts, patches, visible).detach(), visible, hidden)
    x = decode(parts, torch.cat([cls, x + parts.decoder_positions], dim=1))
    return parts.decoder_pred(take(x, hidden))


@wrong("real.forward", "gradient of `mask_token` is missing")
def forward_with_a_dead_mask_token(parts, patches, visible, hidden):
    y = parts.decoder_embed(encode(parts, patches, visible))
    x = torch.cat([y[:, 1:], torch.tensor(parts.mask_token.tolist()).repeat(*hidden.shape, 1)], dim=1)
    x = take(x, torch.cat([visible, hidden], dim=1).argsort(dim=1))
    x = decode(parts, torch.cat([y[:, :1], x + parts.decoder_positions], dim=1))
    return parts.decoder_pred(take(x, hidden))


@wrong("real.bug_targets", "shifted the other way")
def targets_shifted_back(decoded, patches, hidden):
    return F.mse_loss(take(decoded, torch.where(hidden > 0, hidden - 1, 0)), take(patches, hidden))


@wrong("real.bug_targets", "You padded the patches")
def targets_padded(decoded, patches, hidden):
    padded = torch.cat([torch.zeros_like(patches[:, :1]), patches], dim=1)
    return F.mse_loss(take(decoded, hidden), take(padded, hidden))


@wrong("real.bug_targets", "Only hidden ones count")
def targets_everywhere(decoded, patches, hidden):
    return F.mse_loss(decoded[:, 1:], patches)


@wrong("real.bug_targets", "as well as the predictions")
def targets_moved_twice(decoded, patches, hidden):
    before = torch.cat([patches[:, -1:], patches[:, :-1]], dim=1)
    return F.mse_loss(take(decoded[:, 1:], hidden), take(before, hidden))


@wrong("real.bug_targets", "rolled the tokens the wrong way")
def targets_rolled(decoded, patches, hidden):
    return F.mse_loss(take(torch.roll(decoded, 1, dims=1), hidden), take(patches, hidden))


@wrong("real.bug_targets", "RuntimeError")
def targets_without_the_first_patch(decoded, patches, hidden):
    return F.mse_loss(take(decoded, hidden), take(patches[:, 1:], hidden))


class OwnDecoder(CHAPTER["Decoder"]):
    """The class of the exercise, with a place to put the wrong cure."""

    def __init__(self, rows, columns, P, D, depth, heads, encoder_D, generator):
        super().__init__(rows, columns, P, D, depth, heads, encoder_D)
        del self.positions
        self.positions = nn.Parameter(CHAPTER["sincos_positions"](rows, columns, D), requires_grad=False)
        self.grid = rows, columns
        for name, parameter in self.named_parameters():
            self.begin(name, parameter, generator)

    def begin(self, name, parameter, generator):
        if name.endswith("token"):
            nn.init.normal_(parameter, std=0.02, generator=generator)
        elif "norm" in name and name.endswith("weight"):
            nn.init.ones_(parameter)
        elif name.endswith("weight"):
            nn.init.xavier_uniform_(parameter, generator=generator)
        else:
            self.remaining(name, parameter, generator)

    def remaining(self, name, parameter, generator):
        if name != "positions":
            nn.init.zeros_(parameter)


@wrong("real.bug_positions", "isn't sines and cosines")
class RandomTable(OwnDecoder):
    def remaining(self, name, parameter, generator):
        if name == "positions":
            nn.init.normal_(parameter, std=0.02, generator=generator)
        else:
            nn.init.zeros_(parameter)


@wrong("real.bug_positions", "The table is trained now")
class TrainedTable(OwnDecoder):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.positions.requires_grad_(True)


@wrong("real.bug_positions", "no longer begins at zero")
class WithoutZeros(OwnDecoder):
    def remaining(self, name, parameter, generator):
        if name != "positions":
            nn.init.normal_(parameter, std=0.02, generator=generator)


@wrong("real.bug_positions", "the table is still all zeros")
class NoiseInstead(OwnDecoder):
    def remaining(self, name, parameter, generator):
        nn.init.zeros_(parameter)

    def forward(self, latent, visible, hidden):
        x = super().forward(latent, visible, hidden)
        return x + torch.randn(x.shape)


@wrong("real.bug_positions", "no longer comes from the Xavier distribution")
class WithoutInitialiser(OwnDecoder):
    def begin(self, name, parameter, generator):
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif name.endswith("token"):
            nn.init.normal_(parameter, std=0.02, generator=generator)


@wrong("real.bug_positions", "Keep the table as `positions`")
class RenamedTable(OwnDecoder):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.table = self.positions
        del self.positions

    def forward(self, latent, visible, hidden):
        self.positions = self.table
        x = super().forward(latent, visible, hidden)
        del self.positions
        return x


@wrong("real.bug_positions", "is it added to the mask tokens")
class TableNotAdded(OwnDecoder):
    def forward(self, latent, visible, hidden):
        y = self.decoder_embed(latent)
        x = torch.cat([y, self.mask_token.repeat(*hidden.shape, 1)], dim=1)
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_pred(self.decoder_norm(x[:, -hidden.shape[1] :]))


wrong_value("real.untrained_loss", 1.0, "the loss of predicting zero, or the spread of the predictions alone")
wrong_value("real.untrained_loss", 1.13, "the spread of the predictions alone")
wrong_value("real.untrained_loss", 0, "that of a perfect model")
wrong_value("real.untrained_loss", 49, "too high")
wrong_value("real.untrained_loss", "two", "Expected a number")


@wrong("real.schedule", "runs over all steps, the warm-up included")
def schedule_over_all_steps(step, steps, warmup, peak):
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak / 2 * (1 + math.cos(step / steps * math.pi))


@wrong("real.schedule", "never comes down to zero")
def schedule_too_long(step, steps, warmup, peak):
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak / 2 * (1 + math.cos((step - warmup) / steps * math.pi))


@wrong("real.schedule", "A full cosine")
def schedule_that_comes_back(step, steps, warmup, peak):
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak / 2 * (1 + math.cos(2 * math.pi * (step - warmup) / (steps - warmup)))


@wrong("real.schedule", "Whole-number division")
def schedule_that_never_warms_up(step, steps, warmup, peak):
    if step < warmup:
        return peak * ((step + 1) // (warmup + 1))
    return peak / 2 * (1 + math.cos((step - warmup) / (steps - warmup) * math.pi))


@wrong("real.schedule", "The first step has a rate of zero")
def schedule_that_begins_at_zero(step, steps, warmup, peak):
    if step < warmup:
        return peak * step / warmup
    return peak / 2 * (1 + math.cos((step - warmup) / (steps - warmup) * math.pi))


@wrong("real.schedule", "at the peak one step early")
def schedule_one_step_early(step, steps, warmup, peak):
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak / 2 * (1 + math.cos((step - warmup) / (steps - warmup) * math.pi))


@wrong("real.schedule", "a tenth of the peak")
def schedule_with_a_floor(step, steps, warmup, peak):
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    low = peak / 10
    return low + (peak - low) / 2 * (1 + math.cos((step - warmup) / (steps - warmup) * math.pi))


@wrong("real.schedule", "below zero")
def schedule_of_a_bare_cosine(step, steps, warmup, peak):
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * math.cos((step - warmup) / (steps - warmup) * math.pi)


@wrong("real.schedule", "A quarter of a cosine")
def schedule_of_a_quarter(step, steps, warmup, peak):
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * math.cos((step - warmup) / (steps - warmup) * math.pi / 2)


@wrong("real.schedule", "A straight line down")
def schedule_of_lines(step, steps, warmup, peak):
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * (1 - (step - warmup) / (steps - warmup))


@wrong("real.schedule", "already in the last step")
def schedule_that_ends_early(step, steps, warmup, peak):
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak / 2 * (1 + math.cos((step - warmup) / (steps - 1 - warmup) * math.pi))


@wrong("real.schedule", "There is no warm-up: the cosine begins")
def schedule_without_warmup(step, steps, warmup, peak):
    return peak / 2 * (1 + math.cos(step / steps * math.pi))


def gradient(model):
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@wrong("real.bug_accumulation", "number of micro-batches", "a smaller last one")
def accumulation_divided_by_count(model, x, y, size):
    model.zero_grad()
    pieces = math.ceil(len(x) / size)
    for start in range(0, len(x), size):
        (F.mse_loss(model(x[start : start + size]), y[start : start + size]) / pieces).backward()
    return gradient(model)


@wrong("real.bug_accumulation", "over which `mse_loss` has averaged already")
def accumulation_divided_by_size(model, x, y, size):
    model.zero_grad()
    for a, b in zip(x.split(size), y.split(size), strict=True):
        (F.mse_loss(model(a), b) / size).backward()
    return gradient(model)


@wrong("real.bug_accumulation", "once more")
def accumulation_divided_twice(model, x, y, size):
    model.zero_grad()
    for a, b in zip(x.split(size), y.split(size), strict=True):
        (F.mse_loss(model(a), b) / len(a)).backward()
    return gradient(model)


@wrong("real.bug_accumulation", "give each micro-batch the weight")
def accumulation_divided_by_all(model, x, y, size):
    model.zero_grad()
    for a, b in zip(x.split(size), y.split(size), strict=True):
        (F.mse_loss(model(a), b) / len(x)).backward()
    return gradient(model)


@wrong("real.bug_accumulation", "but don't divide by those of the batch")
def accumulation_only_weighted(model, x, y, size):
    model.zero_grad()
    for a, b in zip(x.split(size), y.split(size), strict=True):
        (F.mse_loss(model(a), b) * len(a)).backward()
    return gradient(model)


@wrong("real.bug_accumulation", "Only the last micro-batch is left: gradients")
def accumulation_set_to_zero(model, x, y, size):
    for a, b in zip(x.split(size), y.split(size), strict=True):
        model.zero_grad()
        F.mse_loss(model(a), b).backward()
    return gradient(model)
