"""Published files come and go bit by bit, anything else is refused by name, and a download survives the network."""

import argparse
import hashlib
import http.server
import io
import math
import os
import re
import socket
import threading
import urllib.error
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from mae import download as download_module
from mae import official
from mae.download import download, md5_sum
from mae.evaluate import extract_features, reconstruct
from mae.masking import Mask, random_mask
from mae.model import MAEConfig, MaskedAutoencoder, vit_config
from mae.official import (
    FILES,
    Encoder,
    from_official,
    load_official,
    read_official,
    rebuild,
    standardize,
    to_official,
    unstandardize,
    write_official,
)
from mae.patches import patchify
from mae.weights import load_model, save_model

# Odd enough that no two of its tensors could be mistaken for one another.
CONFIG = MAEConfig(
    grid=(3, 3),
    patch_values=75,
    width=16,
    depth=2,
    heads=2,
    decoder_width=8,
    decoder_depth=3,
    decoder_heads=4,
    mlp_ratio=3,
)
HEADS = {"heads": 2, "decoder_heads": 4}
BLOCK = [f"{part}.{kind}" for part in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
         for kind in ("weight", "bias")]  # fmt: skip


def names(depth, decoder_depth):
    """The published names in the published order; without a decoder's depth, an encoder's."""
    found = ["cls_token", "pos_embed"]
    found += ["mask_token", "decoder_pos_embed"] if decoder_depth else []
    found += ["patch_embed.proj.weight", "patch_embed.proj.bias"]
    found += [f"blocks.{i}.{part}" for i in range(depth) for part in BLOCK] + ["norm.weight", "norm.bias"]
    if decoder_depth:
        found += ["decoder_embed.weight", "decoder_embed.bias"]
        found += [f"decoder_blocks.{i}.{part}" for i in range(decoder_depth) for part in BLOCK]
        found += ["decoder_norm.weight", "decoder_norm.bias", "decoder_pred.weight", "decoder_pred.bias"]
    return found


@pytest.fixture
def model(seeded):
    return MaskedAutoencoder(CONFIG, generator=seeded()).eval()


@pytest.fixture
def weights(seeded):
    """As a published file holds them: every number random, tables rounded a little otherwise than ours."""
    generator = seeded(7)
    found = {
        name: torch.randn(tensor.shape, generator=generator)
        for name, tensor in to_official(MaskedAutoencoder(CONFIG, generator=generator)).items()
    }
    for name, width in (("pos_embed", 16), ("decoder_pos_embed", 8)):
        table = torch.cat([torch.zeros(1, width), official.sincos_positions((3, 3), width)])[None]
        table[:, 1:] += 1e-7 * torch.randn(9, width, generator=generator)
        found[name] = table
    return found


def encoder_of(weights):
    return {name: tensor for name, tensor in weights.items() if name in names(2, 0)}


@pytest.fixture
def images(seeded):
    return torch.rand(4, 3, 15, 15, generator=seeded(3))


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def message(function, *args, kind=ValueError, **kwargs):
    with pytest.raises(kind) as error:
        function(*args, **kwargs)
    return str(error.value)


def same_bits(a, b):
    assert list(a) == list(b)
    return all(x.dtype == y.dtype and torch.equal(x.view(torch.int32), y.view(torch.int32))
               for x, y in zip(a.values(), b.values(), strict=True))  # fmt: skip


# Names and layouts


def test_names_and_their_order_are_the_published_ones(model):
    assert list(to_official(model)) == names(2, 3)
    assert list(to_official(Encoder(CONFIG))) == names(2, 0)
    assert len(names(2, 3)) == 14 + 12 * 5


@pytest.mark.parametrize(
    ("size", "tensors", "millions", "of_encoder"),
    [("base", 254, 111.9, 85.8), ("large", 398, 329.5, 303.3), ("huge", 494, 657.1, 630.8)],
)
def test_published_models_have_the_published_sizes(size, tensors, millions, of_encoder):
    with torch.device("meta"):
        whole, encoder = MaskedAutoencoder(vit_config(size)), Encoder(vit_config(size))
    assert len(to_official(whole)) == tensors
    for model, expected in ((whole, millions), (encoder, of_encoder)):
        assert math.isclose(sum(p.numel() for p in to_official(model).values()) / 1e6, expected, abs_tol=0.5)
        assert official._config(to_official(model), None, None, None) == vit_config(size)  # heads are known


def test_the_convolution_becomes_the_linear_map(weights, images):
    model = from_official(weights, **HEADS)
    tokens = F.conv2d(images, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], stride=5)
    tokens = tokens.flatten(2).transpose(1, 2) + weights["pos_embed"][:, 1:]
    assert torch.allclose(model.embed(patchify(images, 5)), tokens, atol=1e-5)


def test_a_file_comes_back_bit_by_bit(weights, tmp_path):
    for part in (weights, encoder_of(weights)):
        torch.save({"model": part}, tmp_path / "theirs.pth")
        sizes = {"heads": 2} if len(part) < len(weights) else HEADS
        write_official(read_official(tmp_path / "theirs.pth", **sizes), tmp_path / "ours.pth")
        assert same_bits(torch.load(tmp_path / "ours.pth", weights_only=True)["model"], part)
    assert files(tmp_path) == ["ours.pth", "theirs.pth"]


def test_a_model_comes_back_bit_by_bit(model, tmp_path, images, seeded):
    write_official(model, tmp_path / "model.pth")
    back = read_official(tmp_path / "model.pth", **HEADS)
    assert back.config == CONFIG and not back.training and back.normalized is False
    assert same_bits(back.state_dict(), model.state_dict())
    mask = random_mask(4, 9, 0.5, generator=seeded(1))
    assert torch.equal(back(patchify(images, 5), mask), model(patchify(images, 5), mask))


def test_other_channels_and_grids(seeded, tmp_path):
    config = replace(CONFIG, grid=(2, 5), patch_values=16)
    model = MaskedAutoencoder(config, generator=seeded())
    write_official(model, tmp_path / "grey.pth", channels=1)
    back = read_official(tmp_path / "grey.pth", grid=(2, 5), **HEADS)
    assert back.config == config and same_bits(back.state_dict(), model.state_dict())
    assert "pos_embed for 3×3 patches, got 10: give grid=" in message(read_official, tmp_path / "grey.pth", **HEADS)
    assert "expected square patches of 3 channels, got 16 values" in message(to_official, model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_read_as_single(weights, dtype):
    model = from_official({name: tensor.to(dtype) for name, tensor in weights.items()}, **HEADS)
    assert {tensor.dtype for tensor in (*model.parameters(), *model.buffers())} == {torch.float32}
    assert torch.equal(model.norm.weight, weights["norm.weight"].to(dtype).float())


def test_weights_are_copied_not_shared(weights):
    before = weights["norm.weight"].clone()
    model = from_official(weights, **HEADS)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    model.positions.add_(1)
    assert torch.equal(weights["norm.weight"], before) and weights["pos_embed"][0, 0].abs().max() == 0
    model(torch.rand(2, 9, 75), random_mask(2, 9, 0.5, generator=torch.Generator())).sum().backward()


# What is refused


def test_heads_are_asked_for(weights):
    assert "do not tell the number of attention heads" in message(from_official, weights)
    assert "give heads= and decoder_heads=" in message(from_official, weights, heads=2)
    assert "do not tell" in message(from_official, encoder_of(weights))


@pytest.mark.parametrize("name", names(2, 3))
def test_each_missing_tensor_is_named(weights, name):
    for part in (weights, encoder_of(weights)):
        without = {key: tensor for key, tensor in part.items() if key != name}
        if len(without) < len(part):
            assert re.search(rf"{re.escape(name)}\b", message(from_official, without, **HEADS))


@pytest.mark.parametrize("name", names(2, 3))
def test_each_misshapen_tensor_is_named(weights, name):
    tensor = weights[name]
    longer = torch.cat([tensor, tensor[..., -1:]], dim=-1)
    text = message(from_official, {**weights, name: longer}, **HEADS)
    assert re.search(rf"{re.escape(name)}\b", text), text
    assert name in message(from_official, {**weights, name: tensor[None]}, **HEADS)


def test_what_does_not_belong_is_named(weights):
    classifier = {**encoder_of(weights), "head.weight": torch.zeros(10, 16)}
    text = message(from_official, classifier, **HEADS)
    assert "unexpected: head.weight" in text and "leave out what does not belong" in text
    gap = {name.replace("blocks.1.", "blocks.7.", 1): tensor for name, tensor in weights.items()}
    text = message(from_official, gap, **HEADS)
    assert "missing: blocks.1.norm1.weight" in text and "unexpected: blocks.7.norm1.weight" in text
    assert "mae.hugging_face" in message(from_official, {"vit.embeddings.cls_token": torch.zeros(1)})


@pytest.mark.parametrize("name", ["pos_embed", "decoder_pos_embed"])
def test_other_positions_are_refused(weights, name):
    table = weights[name]
    half = table.shape[2] // 2
    moved = table.clone()
    moved[0, 4, 2] += 1e-4
    for other in (
        torch.cat([table[..., half:], table[..., :half]], dim=2),
        table.flip(1),
        table + 0.01,
        moved,
        table * torch.nan,
    ):
        assert "table of positions differs by" in message(from_official, {**weights, name: other}, **HEADS)
    text = message(from_official, {**weights, name: torch.zeros_like(table)}, **HEADS)
    assert "all zero" in text and "transformers" in text


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (str(self.marker),))


def test_settings_of_a_run_are_read_and_code_is_not_run(weights, tmp_path):
    path, marker = tmp_path / "checkpoint.pth", tmp_path / "ran"
    run = {"optimizer": {"state": {0: torch.zeros(2)}}, "epoch": 799, "scaler": {}}
    for target in (True, False):
        torch.save({"model": weights, "args": argparse.Namespace(norm_pix_loss=target, lr=1e-3), **run}, path)
        assert read_official(path, **HEADS).normalized is target
        assert read_official(path, normalized=not target, **HEADS).normalized is not target
    torch.save({"model": weights, "args": Bomb(marker)}, path)
    assert "could run code" in message(read_official, path, **HEADS)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()  # the file was dangerous indeed


def test_other_files_are_refused(weights, tmp_path):
    path = tmp_path / "file.pth"
    assert "there is no file" in message(read_official, path, kind=FileNotFoundError)
    for thing, named in (
        (weights, "cls_token"),
        ([1], "list"),
        ({}, "nothing"),
        ({"model": {"a": 1}}, "model"),
        (weights["norm.bias"], "Tensor"),
    ):
        torch.save(thing, path)
        assert named in message(read_official, path)
    for content in (b"", b"<html>no such file</html>", b"\x80\x02"):
        path.write_bytes(content)
        assert "is damaged, or holds more" in message(read_official, path)
    torch.save({"model": weights}, path)
    path.write_bytes(path.read_bytes()[:-1000])
    assert "is damaged, or holds more" in message(read_official, path)
    torch.save({"model": {**weights, "odd": torch.zeros(1)}}, path)
    assert message(read_official, path, **HEADS).startswith(f"{path}: these are not exactly")


def test_a_failed_write_keeps_the_old_file(model, tmp_path, monkeypatch):
    path = tmp_path / "model.pth"
    write_official(model, path)
    before = path.read_bytes()

    def fail(thing, partial):
        partial.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", fail)
    assert "no space left" in message(write_official, model, path, kind=OSError)
    assert path.read_bytes() == before


# The encoder alone


def test_an_encoder_encodes_and_says_why_it_does_not_decode(weights, images, seeded):
    whole, encoder = from_official(weights, **HEADS), from_official(encoder_of(weights), heads=2)
    patches, mask = patchify(images, 5), random_mask(4, 9, 0.5, generator=seeded(1))
    assert isinstance(encoder, Encoder) and not isinstance(whole, Encoder)
    assert torch.equal(encoder.encode(patches, mask), whole.encode(patches, mask))
    assert (extract_features(encoder, patches) == extract_features(whole, patches)).all()
    for rebuilt in (lambda: encoder(patches, mask), lambda: reconstruct(encoder, patches, mask),
                    lambda: rebuild(encoder, images, mask)):  # fmt: skip
        text = message(rebuilt)
        assert "no decoder" in text and '"visualize"' in text and '"full"' in text
    assert {name.split("_")[0] for name, _ in encoder.named_parameters()} & {"decoder", "mask"} == set()


# Getting them


def test_the_table_of_files():
    for (name, variant), (url, md5) in FILES.items():
        size = name.removeprefix("vit_")
        end = {"encoder": f"pretrain/mae_pretrain_vit_{size}.pth", "full": f"pretrain/mae_pretrain_vit_{size}_full.pth",
               "visualize": f"visualize/mae_visualize_vit_{size}.pth",
               "ganloss": f"visualize/mae_visualize_vit_{size}_ganloss.pth"}[variant]  # fmt: skip
        assert url == f"https://dl.fbaipublicfiles.com/mae/{end}"
        assert (md5 is not None) == (variant == "encoder") and (md5 is None or re.fullmatch("[0-9a-f]{6}", md5))
    assert len(FILES) == 10


CONTENT = bytes(range(256)) * 12000  # some 3 MB, so that it comes in pieces
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `content`; breaks off after `limit` bytes of an answer, and knows no ranges if told so."""

    content, limit, ranges, status, asked = CONTENT, None, True, None, []

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.asked.append(wanted)
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and self.ranges else 0
        status = self.status or (206 if wanted and self.ranges else 200)
        if wanted and self.ranges and start >= len(self.content):
            status = 416
        self.send_response(status)
        body = self.content[start:] if status < 300 else b""
        if status in (206, 416):
            span = "*" if status == 416 else f"{start}-{len(self.content) - 1}"
            self.send_header("Content-Range", f"bytes {span}/{len(self.content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.limit])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """Address of a server on this machine, and the class whose settings say how it behaves."""
    monkeypatch.delenv("MAE_OFFLINE", raising=False)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    handler = type("Handler", (Server,), {"asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}/file.pth", handler
        serving.shutdown()
        thread.join()


def test_a_file_is_fetched_and_stands_under_its_name_only(server, tmp_path):
    url, handler = server
    path = tmp_path / "new" / "folder" / "file.pth"
    download(url, path, MD5[:6])
    assert path.read_bytes() == CONTENT and files(path.parent) == ["file.pth"] and handler.asked == [None]


def test_a_broken_download_is_taken_up_where_it_broke_off(server, tmp_path):
    url, handler = server
    path = tmp_path / "file.pth"
    handler.limit = 2_000_000
    text = message(download, url, path, MD5, kind=ConnectionError)
    assert "it broke off after 2,000,000 of 3,072,000 bytes" in text and "goes on after the 2,000,000 bytes" in text
    assert files(tmp_path) == ["file.pth.partial"]
    handler.limit = None
    download(url, path, MD5)
    assert path.read_bytes() == CONTENT and files(tmp_path) == ["file.pth"]
    assert handler.asked == [None, "bytes=2000000-"]


def test_a_server_without_ranges_sends_it_all_again(server, tmp_path):
    url, handler = server
    (tmp_path / "file.pth.partial").write_bytes(CONTENT[:1_000_000])
    handler.ranges = False
    download(url, tmp_path / "file.pth", MD5)
    assert (tmp_path / "file.pth").read_bytes() == CONTENT
    assert handler.asked == ["bytes=1000000-"]


def test_a_complete_partial_file_is_not_fetched_again(server, tmp_path):
    url, handler = server
    (tmp_path / "file.pth.partial").write_bytes(CONTENT)
    download(url, tmp_path / "file.pth", MD5)
    assert (tmp_path / "file.pth").read_bytes() == CONTENT and files(tmp_path) == ["file.pth"]
    assert handler.asked == ["bytes=3072000-"]


def test_too_long_a_partial_file_is_begun_anew(server, tmp_path):
    url, handler = server
    (tmp_path / "file.pth.partial").write_bytes(CONTENT + b"more")
    download(url, tmp_path / "file.pth", MD5)
    assert (tmp_path / "file.pth").read_bytes() == CONTENT and handler.asked == ["bytes=3072004-", None]


def test_another_checksum_deletes_what_came(server, tmp_path):
    url, _ = server
    path = tmp_path / "file.pth"
    text = message(download, url, path, "abcdef")
    assert f"its MD5 sum is {MD5}, expected abcdef…" in text and files(tmp_path) == []
    (tmp_path / "file.pth.partial").write_bytes(b"x" * 100)  # the start of something else
    assert "was deleted" in message(download, url, path, MD5)
    download(url, path, MD5)
    assert path.read_bytes() == CONTENT


def test_without_a_published_sum_the_archive_checks_itself(server, tmp_path):
    url, handler = server
    path, buffer = tmp_path / "file.pth", io.BytesIO()
    torch.save({"model": torch.zeros(1000)}, buffer)
    handler.content = buffer.getvalue()
    download(url, path)
    assert path.read_bytes() == buffer.getvalue()
    damaged = bytearray(buffer.getvalue())
    damaged[damaged.index(bytes(4000))] = 1
    torch.load(io.BytesIO(damaged), weights_only=True)  # PyTorch does not notice
    handler.content = bytes(damaged)
    assert "is damaged" in message(download, url, tmp_path / "other.pth")
    handler.content = b"<html>Log in to the network</html>"
    assert "not a file of PyTorch's" in message(download, url, tmp_path / "other.pth")
    torch.save({"model": torch.zeros(9)}, buffer := io.BytesIO(), _use_new_zipfile_serialization=False)
    handler.content = buffer.getvalue()
    download(url, tmp_path / "old.pth")
    assert files(tmp_path) == ["file.pth", "old.pth"]


def test_a_file_that_is_not_there(server, tmp_path):
    url, handler = server
    handler.status = 404
    text = message(download, url, tmp_path / "file.pth", kind=ConnectionError)
    assert "HTTP Error 404" in text and files(tmp_path) == []


def test_a_silent_server_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.delenv("MAE_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/file.pth"
        assert "timed out" in message(download, url, tmp_path / "file.pth", timeout=0.2, kind=ConnectionError)


def test_a_full_disk_is_told_as_such(server, tmp_path, monkeypatch):
    url, _ = server

    def full(chunks, **kwargs):
        yield next(chunks)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download_module, "progress", full)
    text = message(download, url, tmp_path / "file.pth", kind=OSError)
    assert "No space left" in text and "network" not in text


def offline(monkeypatch, how):
    monkeypatch.delenv("MAE_OFFLINE", raising=False)
    if how == "told":
        monkeypatch.setenv("MAE_OFFLINE", "1")
        how = "never asked"

    def no_network(*args, **kwargs):
        if how == "never asked":
            raise AssertionError("the network was asked")
        raise urllib.error.URLError(socket.gaierror(-3, "Temporary failure in name resolution"))

    monkeypatch.setattr("urllib.request.urlopen", no_network)


@pytest.mark.parametrize("how", ["no network", "told"])
def test_without_a_network_the_message_says_what_to_do(how, tmp_path, monkeypatch):
    offline(monkeypatch, how)
    text = message(load_official, "vit_base", folder=tmp_path / "cache", kind=ConnectionError)
    url = "https://dl.fbaipublicfiles.com/mae/visualize/mae_visualize_vit_base.pth"
    assert f"could not download {url} (" in text and "\n" not in text
    assert (
        f"fetch the file by hand on any computer, and put it at {tmp_path / 'cache' / 'mae_visualize_vit_base.pth'}"
        in text
    )
    assert ("MAE_OFFLINE is set" if how == "told" else "name resolution") in text


@pytest.fixture
def small(monkeypatch, weights):
    """The published models made small: what `load_official` expects is CONFIG."""
    published = replace(CONFIG, decoder_width=8)
    monkeypatch.setattr(official, "vit_config", lambda size: published)
    monkeypatch.setattr(official, "HEADS", {(16, 2): 2})
    monkeypatch.setattr(official, "DECODER_HEADS", {(8, 3): 4})
    return weights


def test_official_weights_are_downloaded_once(small, server, tmp_path, monkeypatch):
    url, handler = server
    torch.save({"model": small}, buffer := io.BytesIO())
    handler.content = buffer.getvalue()
    for variant in ("visualize", "full"):
        monkeypatch.setitem(FILES, ("vit_base", variant), (url.replace("file", variant), None))
        for _ in range(2):
            model = load_official("vit_base", variant, folder=tmp_path)
            assert same_bits(to_official(model), small)
            assert model.normalized is (variant == "full")
    assert handler.asked == [None, None] and files(tmp_path) == ["full.pth", "visualize.pth"]
    monkeypatch.setitem(FILES, ("vit_large", "encoder"), (url, "abcdef"))
    assert "expected abcdef…" in message(load_official, "vit_large", "encoder", folder=tmp_path)


def test_official_weights_lie_in_the_users_cache(small, server, tmp_path, monkeypatch):
    url, handler = server
    torch.save({"model": small}, buffer := io.BytesIO())
    handler.content = buffer.getvalue()
    monkeypatch.setitem(FILES, ("vit_base", "visualize"), (url, None))
    monkeypatch.setattr(official, "user_cache_path", lambda name, **kwargs: tmp_path / name)
    load_official("vit_base")
    assert files(tmp_path / "mae") == ["file.pth"]


def test_a_file_fetched_by_hand_is_used_and_checked(small, tmp_path, monkeypatch):
    offline(monkeypatch, "never asked")
    path = tmp_path / "mae_visualize_vit_base.pth"
    torch.save({"model": small}, path)
    assert same_bits(to_official(load_official("vit_base", folder=tmp_path)), small)
    torch.save({"model": encoder_of(small)}, path)
    assert "is of another model than vit_base, visualize" in message(load_official, "vit_base", folder=tmp_path)
    monkeypatch.setattr(official, "vit_config", lambda size: replace(CONFIG, heads=4))
    torch.save({"model": small}, path)
    assert "is of another model" in message(load_official, "vit_base", folder=tmp_path)


def test_an_encoder_has_its_checksum_compared_each_time(small, tmp_path, monkeypatch):
    offline(monkeypatch, "never asked")
    path = tmp_path / "mae_pretrain_vit_base.pth"
    torch.save({"model": encoder_of(small)}, path)
    text = message(load_official, "vit_base", "encoder", folder=tmp_path)
    assert "its MD5 sum does not begin with 8cad7c" in text and "delete it" in text
    monkeypatch.setattr(
        official, "vit_config", lambda size: replace(CONFIG, decoder_width=512, decoder_depth=8, decoder_heads=16)
    )
    monkeypatch.setitem(FILES, ("vit_base", "encoder"), (FILES["vit_base", "encoder"][0], md5_sum(path)[:6]))
    assert isinstance(load_official("vit_base", "encoder", folder=tmp_path), Encoder)
    (tmp_path / "mae_visualize_vit_base.pth").write_bytes(path.read_bytes())
    assert "is of another model than vit_base, visualize" in message(load_official, "vit_base", folder=tmp_path)


def test_what_was_never_published(tmp_path):
    for name, variant in (("vit_base", "ganloss"), ("vit_tiny", "full"), ("vit_base", "decoder")):
        text = message(load_official, name, variant, folder=tmp_path)
        assert f"no published {name!r}, {variant!r}" in text and "vit_large ganloss" in text


# Pictures in, pictures out


def test_pictures_are_standardized_and_back(images):
    x = standardize(images)
    assert torch.allclose(unstandardize(x), images, atol=1e-6)
    assert unstandardize(x.to("meta")).device.type == "meta"  # wherever the pictures are
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    assert standardize(mean).abs().max() < 1e-6
    assert torch.allclose(
        standardize(torch.ones(1, 3, 1, 1)).flatten(), torch.tensor([2.2489, 2.4286, 2.64]), atol=1e-4
    )


def test_other_pictures_are_refused(images):
    assert "expand(-1, 3, -1, -1)" in message(standardize, images[:, :1])
    assert "(B, 3, H, W)" in message(standardize, images[0])
    assert "divide bytes by 255" in message(standardize, images * 255)
    assert "do not standardise twice" in message(standardize, standardize(images))
    assert "got -0.1 to" in message(standardize, images / 2 - 0.1 - images.min() / 2)


def test_rebuilt_pictures_keep_what_is_visible(weights, images, seeded):
    model = from_official(weights, **HEADS)
    mask = random_mask(4, 9, 0.5, generator=seeded(1))
    rebuilt = rebuild(model, images, mask)
    assert rebuilt.shape == images.shape and rebuilt.min() >= 0 and rebuilt.max() <= 1
    hidden = mask.is_hidden.view(4, 1, 3, 3).repeat_interleave(5, 2).repeat_interleave(5, 3).expand_as(images)
    assert torch.allclose(rebuilt[~hidden], images[~hidden], atol=1e-6)
    patches = patchify(standardize(images), 5)
    painted = patches.clone()
    with torch.no_grad():
        for b in range(4):
            painted[b, mask.hidden[b]] = model(patches, mask)[b]
    assert torch.allclose(patchify(standardize(rebuilt), 5), patchify(standardize(unstandardize(
        official.unpatchify(painted, 5, 15)).clamp(0, 1)), 5), atol=1e-5)  # fmt: skip


def test_normalized_pixels_are_not_taken_for_pictures(weights, images, tmp_path):
    model = from_official(weights, **HEADS)
    model.normalized = True
    mask = Mask(torch.tensor([[0]] * 4), torch.arange(1, 9).repeat(4, 1))
    text = message(rebuild, model, images, mask)
    assert "normalised pixels" in text and '"visualize"' in text
    save_model(model, tmp_path / "model.safetensors")
    assert message(rebuild, load_model(tmp_path / "model.safetensors"), images, mask) == text
