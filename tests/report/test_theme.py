"""Colours against WCAG's contrasts."""

from __future__ import annotations

import numpy as np
import pytest

from onelayer.report.theme import DARK, LIGHT, Theme


def luminance(colour: tuple[float, ...]) -> float:
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_can_be_read(theme: Theme) -> None:
    for ground in (rgb(theme.ground), rgb(theme.panel)):
        assert contrast(rgb(theme.ink), ground) >= 7.0
        for text in (theme.soft, theme.accent, theme.warn):
            assert contrast(rgb(text), ground) >= 4.5
        for colour in theme.series:
            assert contrast(rgb(colour), ground) >= 3.0, colour


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_numbers_on_the_heat_map_can_be_read(theme: Theme) -> None:
    steps = [np.array(rgb(colour)) for colour in theme.ramp]
    for percent in range(101):
        place = percent / 100 * (len(steps) - 1)
        i = min(int(place), len(steps) - 2)
        cell = tuple(steps[i] + (place - i) * (steps[i + 1] - steps[i]))
        ink = theme.ink_on_high if percent > theme.ink_switch else theme.ink_on_low
        assert contrast(rgb(ink), cell) >= 4.5, percent
