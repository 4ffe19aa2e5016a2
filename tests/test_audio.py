"""Spoken words repeat; bands, coefficients and the way back to sound keep what they promise."""

import ctypes
import importlib.util
import io
import wave

import numpy as np
import pytest
import torch
from scipy.fft import idct

from mae.audio import (
    BANDS,
    FLOOR,
    FRAMES,
    RATE,
    SAMPLES,
    clip,
    griffin_lim,
    log_mel,
    mel_filters,
    mfcc,
    mfcc_statistics,
    speak,
    wav_bytes,
)


def tone(hertz):
    return torch.sin(2 * torch.pi * hertz * torch.arange(SAMPLES) / RATE)


# Speech


def test_voices_differ_and_words_last_as_long_as_words_do():
    low, high, fast = speak([("seven", "en+m1", 30, 160), ("seven", "en+f2", 70, 160), ("seven", "en+f2", 70, 300)])
    assert low.dtype == np.float32 and np.abs(low).max() <= 1
    assert 0.25 < len(low) / (2 * RATE) < 0.8 and len(fast) < 0.8 * len(high)
    assert low.shape != high.shape or np.abs(low - high).max() > 0.1


def test_what_was_spoken_before_changes_nothing():
    words = [("seven", "en+m1", 30, 160), ("three", "en+croak", 50, 175), ("nine", "en-us+whisper", 50, 175)]
    first = speak(words)
    speak([("one", "en+f3", 80, 200), ("six", "en+m7", 20, 120)])
    assert all(np.array_equal(a, b) for a, b in zip(first, speak(words), strict=True))


def test_an_unknown_voice_is_named():
    with pytest.raises(ValueError, match=r"no voice 'xx\+f2'.*'en-us\+f2'"):
        speak([("one", "xx+f2", 50, 175)])
    assert len(speak([("one", "en+f2", 50, 175)])[0])


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install espeakng-loader"):
        speak([("one", "en", 50, 175)])


def test_a_library_that_does_not_load_is_named(monkeypatch):
    def fail(path):
        raise OSError("wrong architecture")

    monkeypatch.setattr(ctypes, "CDLL", fail)
    with pytest.raises(OSError, match=r"can't be loaded on this system \(wrong architecture\)"):
        speak([("one", "en", 50, 175)])


@pytest.mark.parametrize(("place", "start"), [(0, 0), (0.5, 2032), (1, 4064)])
def test_a_clip_has_its_word_where_it_is_told(place, start):
    word = np.concatenate([np.zeros(3000), 0.2 * np.ones(8000), np.zeros(500)]).astype(np.float32)
    samples = clip(word, place)
    assert samples.shape == (SAMPLES,) and samples.abs().max() == 1
    loud = (samples > 0.5).nonzero()
    assert abs(int(loud[0]) - start) <= 1 and abs(int(loud[-1]) - start - 4000) <= 1


def test_long_words_lose_their_end_and_silence_is_refused():
    assert clip(np.ones(40_000, dtype=np.float32), 0.3).min() > 0
    for silence in (np.zeros(100, np.float32), np.zeros(0, np.float32)):
        with pytest.raises(ValueError, match="got silence"):
            clip(silence, 0)


# Spectrograms


def test_bands_cover_the_frequencies_with_triangles():
    filters = mel_filters()
    assert filters.shape == (BANDS, 257) and (filters >= 0).all()
    assert torch.allclose(filters.sum(dim=1), torch.ones(BANDS))
    centre = (filters @ torch.arange(257.0)) * RATE / 512
    assert (centre.diff() > 0).all()
    mel = 2595 * (1 + centre / 700).log10()
    assert torch.allclose(mel.diff(), mel.diff().mean(), atol=12)  # as far from each other on the mel scale
    assert filters[:, 3:256].sum(dim=0).min() > 0  # no frequency from 65 Hz up is lost


@pytest.mark.parametrize("hertz", [200, 1000, 4000])
def test_a_tone_is_loud_in_its_band_only(hertz):
    x = log_mel(tone(hertz)[None])
    assert x.shape == (1, 1, BANDS, FRAMES) and x.max() == 0
    band = int(x[0, 0, :, 30].argmax())
    assert abs(float(mel_filters()[band] @ torch.arange(257.0)) * RATE / 512 - hertz) < 0.1 * hertz
    assert (x[0, 0, :, 30] > -30).sum() <= 5


def test_loudness_is_relative_and_cut_at_the_floor(seeded):
    noise = torch.randn(3, SAMPLES, generator=seeded(0))
    assert torch.allclose(log_mel(noise), log_mel(0.1 * noise), atol=1e-3)
    noise[:, 4000:] = 0
    assert log_mel(noise)[..., -1].max() == FLOOR
    half = noise.clone()
    half[:, :2000] *= 0.1
    assert float((log_mel(half) - log_mel(noise))[..., 5:10].mean()) == pytest.approx(-20, abs=1)
    with pytest.raises(ValueError, match=r"\(B, 8064\).*use `clip`"):
        log_mel(noise[:, :100])


def test_coefficients_are_a_cosine_transform_of_a_frame(seeded):
    x = torch.randn(2, 1, BANDS, FRAMES, generator=seeded(1))
    assert mfcc(x).shape == (2, 13, FRAMES)
    assert np.allclose(idct(mfcc(x, BANDS), axis=1, norm="ortho"), x[:, 0], atol=1e-5)
    assert np.allclose(mfcc(torch.ones(1, 1, BANDS, FRAMES))[0, 1:], 0, atol=1e-6)  # a flat spectrum has no shape


def test_statistics_do_not_hear_when(seeded):
    x = torch.zeros(1, 1, BANDS, FRAMES)
    x[..., 10:30] = torch.randn(BANDS, 20, generator=seeded(2))
    found = mfcc_statistics(x)
    assert found.shape == (1, 52)
    assert np.allclose(found, mfcc_statistics(x.roll(20, dims=3)), atol=1e-5)
    assert np.allclose(found[0, :13], mfcc(x)[0].mean(axis=1), atol=1e-6)


# Back to sound


def test_sound_comes_back_from_its_spectrogram(seeded):
    word = clip(speak([("seven", "en+m1", 50, 175)])[0], 0.5)
    x = log_mel(word[None])
    again = griffin_lim(x[0], generator=seeded(3))
    assert again.shape == (SAMPLES,) and again.abs().max() == pytest.approx(1)
    loud = x > -40
    off = (log_mel(again[None]) - x)[loud]
    assert off.abs().mean() < 4 < (x.mean() - x)[loud].abs().mean()
    assert torch.equal(again, griffin_lim(x[0], generator=seeded(3)))


def test_wav_files_can_be_read(seeded):
    samples = 2 * torch.rand(500, generator=seeded(4)) - 1
    with wave.open(io.BytesIO(wav_bytes(samples))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
        read = np.frombuffer(file.readframes(500), "<i2") / (2**15 - 1)
    assert np.allclose(read, samples, atol=1e-4)
    with pytest.raises(ValueError, match="between -1 and 1"):
        wav_bytes(2 * torch.ones(5))
