"""Sound as numbers: spoken words by eSpeak NG, log-mel spectrograms, MFCC, and the way back to a waveform."""

import ctypes
import importlib.util
import io
import shutil
import tempfile
import wave
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from scipy.fft import dct
from scipy.signal import resample_poly
from torch import Tensor

RATE = 11025  # samples a second: half of what eSpeak NG makes
WINDOW, HOP = 512, 128  # samples of a frame, and from one frame to the next
FRAMES, BANDS = 64, 40
SAMPLES = (FRAMES - 1) * HOP  # of a clip
FLOOR = -60.0  # dB below the loudest point of a clip; what is softer counts as silence


# Speech


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class _Espeak:
    """The C library, set to hand samples over instead of playing them.

    It keeps a state between words, such as where in its period a voice stands, and nothing resets it. So each instance
    loads a copy of the library, which begins anew.
    """

    def __init__(self):
        spec = importlib.util.find_spec("espeakng_loader")
        if spec is None:
            raise ModuleNotFoundError(
                "the voices come with the package espeakng-loader, which is not installed: "
                "`pip install espeakng-loader`"
            )
        import espeakng_loader

        path = espeakng_loader.get_library_path()
        try:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # Windows keeps what is loaded
                self.library = ctypes.CDLL(shutil.copy(path, folder))
        except OSError as error:
            raise OSError(
                f"eSpeak NG can't be loaded on this system ({error}): `pip install --force-reinstall espeakng-loader`, "
                f"or read on with the stored outputs"
            ) from error
        self.library.espeak_Synth.argtypes = [
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
            ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip
        synchronous, dont_exit = 2, 0x8000
        rate = self.library.espeak_Initialize(synchronous, 0, espeakng_loader.get_data_path().encode(), dont_exit)
        if rate != 2 * RATE:
            raise OSError(f"eSpeak NG did not start: expected {2 * RATE} samples a second, got {rate}")
        self.library.espeak_ng_SetRandSeed(ctypes.c_long(0))  # breathy voices are made of noise
        self.parts: list[np.ndarray] = []
        self.callback = _CALLBACK(self._receive)  # kept: the library goes on calling it
        self.library.espeak_SetSynthCallback(self.callback)

    def _receive(self, samples, count, events) -> int:
        if samples and count > 0:
            self.parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def say(self, text: str, voice: str, pitch: int, rate: int) -> np.ndarray:
        if self.library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"eSpeak NG has no voice {voice!r}: expected a language and a variant, such as 'en-us+f2'")
        self.parts.clear()
        for parameter, value in ((1, rate), (3, pitch)):
            self.library.espeak_SetParameter(parameter, value, 0)
        content = text.encode() + b"\0"
        utf8, by_character = 1, 1
        if self.library.espeak_Synth(content, len(content), 0, by_character, 0, utf8, None, None) != 0:
            raise OSError(f"eSpeak NG could not say {text!r}")
        samples = np.concatenate([*self.parts, np.zeros(0, np.int16)])
        return samples.astype(np.float32) / 2**15


def speak(requests: Sequence[tuple[str, str, int, int]]) -> list[np.ndarray]:
    """Words spoken by the voices of eSpeak NG, a formant synthesiser: speech of a machine, not of people.

    The same list gives the same samples, whatever was spoken before; a word alone may differ in details from the same
    word behind others.

    Parameters
    ----------
    requests : sequence of (str, str, int, int)
        Text, voice (a language and a variant, such as "en-us+f2"), pitch from 0 to 99, and words a minute.

    Returns
    -------
    list of ndarray, (T,), float32
        Between -1 and 1, at 22,050 samples a second.

    Raises
    ------
    ModuleNotFoundError
        If espeakng-loader is not installed.
    OSError
        If the library can't be loaded or fails.
    ValueError
        If there is no such voice.
    """
    voices = _Espeak()
    return [voices.say(*request) for request in requests]


def clip(samples: np.ndarray, place: float) -> Tensor:
    """A word as a clip of fixed length: silence cut off, half the sampling rate, put somewhere into the clip.

    Parameters
    ----------
    samples : ndarray, (T,)
        At 22,050 samples a second; softer than a hundredth of the peak at both ends counts as silence.
    place : float
        0 puts it at the beginning, 1 at the end. What is longer than a clip loses its end.

    Returns
    -------
    Tensor, (8064,), float32
        With a peak of 1.

    Raises
    ------
    ValueError
        If there is nothing but silence.
    """
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max(initial=0))
    if not len(loud):
        raise ValueError("expected a sound, got silence")
    word = resample_poly(samples[loud[0] : loud[-1] + 1], 1, 2)[:SAMPLES]
    out = np.zeros(SAMPLES, dtype=np.float32)
    start = round(place * (SAMPLES - len(word)))
    out[start : start + len(word)] = word / np.abs(word).max()
    return torch.from_numpy(out)


# Spectrograms


@cache
def mel_filters() -> Tensor:
    """How much each frequency counts in each band: triangles that are equally wide on the mel scale.

    The scale is 2595 · log10(1 + f / 700). Each triangle has area 1 (in bins), and its top is where its neighbours
    begin.

    Returns
    -------
    Tensor, (40, 257)
    """
    mel = np.linspace(*(2595 * np.log10(1 + np.array([60.0, RATE / 2]) / 700)), BANDS + 2)
    corner = 700 * (10 ** (mel / 2595) - 1)  # Hz
    frequency = np.arange(WINDOW // 2 + 1) * RATE / WINDOW
    rise = (frequency - corner[:-2, None]) / (corner[1:-1] - corner[:-2])[:, None]
    fall = (corner[2:, None] - frequency) / (corner[2:] - corner[1:-1])[:, None]
    filters = np.clip(np.minimum(rise, fall), 0, None)
    return torch.from_numpy(filters / filters.sum(axis=1, keepdims=True)).float()


def _stft(waves: Tensor) -> Tensor:
    return torch.stft(waves, WINDOW, HOP, window=torch.hann_window(WINDOW), return_complex=True)  # (B, 257, 64)


def log_mel(waves: Tensor) -> Tensor:
    """Log-mel spectrograms: how loud it is in each band at each time, in dB below the loudest point of the clip.

    Parameters
    ----------
    waves : Tensor, (B, 8064)

    Returns
    -------
    Tensor, (B, 1, 40, 64)
        Bands from low to high, frames in time; from -60 (softer is cut there) to 0.

    Raises
    ------
    ValueError
        If the shape differs.
    """
    if waves.ndim != 2 or waves.shape[1] != SAMPLES:
        raise ValueError(f"expected waves (B, {SAMPLES}), got {tuple(waves.shape)}: use `clip`")
    power = torch.cat([mel_filters() @ _stft(some).abs().square() for some in waves.split(100)])
    loudness = 10 * power.clamp(min=1e-10).log10()
    return (loudness - loudness.amax(dim=(1, 2), keepdim=True)).clamp(min=FLOOR)[:, None]


def mfcc(spectrograms: Tensor, count: int = 13) -> np.ndarray:
    """Mel-frequency cepstral coefficients: the cosine transform of each frame's log-mel loudness, its first values.

    Parameters
    ----------
    spectrograms : Tensor, (B, 1, 40, 64)
    count : int
        How many values of a frame are kept.

    Returns
    -------
    ndarray, (B, count, 64)
    """
    return dct(spectrograms[:, 0].numpy(), axis=1, norm="ortho")[:, :count]


def mfcc_statistics(spectrograms: Tensor) -> np.ndarray:
    """Mean and deviation over time of the 13 MFCC and of their slopes.

    Parameters
    ----------
    spectrograms : Tensor, (B, 1, 40, 64)

    Returns
    -------
    ndarray, (B, 52)
    """
    values = mfcc(spectrograms)
    both = np.concatenate([values, np.gradient(values, axis=2)], axis=1)  # (B, 26, 64)
    return np.concatenate([both.mean(axis=2), both.std(axis=2)], axis=1)


# Back to sound


@cache
def _inverse_filters() -> Tensor:
    return torch.linalg.pinv(mel_filters().double()).float()


def griffin_lim(spectrogram: Tensor, rounds: int = 60, *, generator: torch.Generator) -> Tensor:
    """A waveform whose log-mel spectrogram is near the given one (Griffin & Lim, 1984).

    A spectrogram has lost the phases, and a mel spectrogram detail of frequency as well. Loudness of frequencies
    comes from the pseudo-inverse of the bands; phases begin at random and are made consistent, round by round.

    Parameters
    ----------
    spectrogram : Tensor, (1, 40, 64)
        In dB, from `log_mel`.
    rounds : int
    generator : torch.Generator
        Draws the phases.

    Returns
    -------
    Tensor, (8064,)
        With a peak of 1; its loudness is not that of the original.
    """
    power = torch.where(spectrogram[0] > FLOOR, 10 ** (spectrogram[0] / 10), 0)
    size = (_inverse_filters() @ power).clamp(min=0).sqrt()  # (257, 64)
    phase = torch.polar(torch.ones_like(size), 2 * torch.pi * torch.rand(size.shape, generator=generator))
    window = torch.hann_window(WINDOW)
    for _ in range(rounds):
        wave = torch.istft(size * phase, WINDOW, HOP, window=window, length=SAMPLES)
        phase = torch.exp(1j * _stft(wave[None])[0].angle())
    wave = torch.istft(size * phase, WINDOW, HOP, window=window, length=SAMPLES)
    return wave / wave.abs().max().clamp(min=1e-9)


def wav_bytes(samples: Tensor) -> bytes:
    """A WAV file: one channel, 16 bits, 11,025 samples a second.

    Parameters
    ----------
    samples : Tensor, (T,)
        Between -1 and 1.
    """
    if samples.ndim != 1 or not samples.abs().max() <= 1:
        raise ValueError(f"expected samples (T,) between -1 and 1, got {tuple(samples.shape)}")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * (2**15 - 1)).round().to(torch.int16).numpy().tobytes())
    return buffer.getvalue()
