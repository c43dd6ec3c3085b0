"""Reliability: how often predictions of some confidence are right, on the test rows."""

from __future__ import annotations

import numpy as np

from onelayer.model.evaluation import Reliability
from onelayer.report.chart import Axis, Curve, Marks, line_chart
from onelayer.report.render import Section
from onelayer.report.summary import Records, listed, tested_settings, unbroken


def reliability_section(records: Records) -> Section | None:
    """Accuracy by confidence of the settings whose test rows are shown; None without records."""
    result = records.result
    curves = {
        setting.name: result.reliability[i]
        for setting in records.drawn.values()
        for i in setting.positions[:1]
        if i in result.reliability and setting.name in tested_settings(result)
    }
    curves = {name: curve for name, curve in curves.items() if curve.rows.any()}
    if not curves:
        return None
    errors = [f"{100.0 * curve.error:.2f} % for {name}" for name, curve in curves.items()]
    chart = line_chart(
        "reliability",
        "Accuracy by confidence on the test rows",
        "Accuracy by confidence",
        Axis("confidence", "{:.3f}", domain=(0.0, 1.0)),
        Axis("share of rows that are right", domain=(0.0, 1.0)),
        [_curve(name, curve) for name, curve in curves.items()],
        points=True,
        marks=Marks(diagonal=True),
    )
    return Section(
        anchor="reliability",
        heading="Reliability",
        text=(
            unbroken(f"Expected calibration error: {listed(errors)}.")
            + " Under the diagonal a model is right less often than it is confident, above it more "
            "often.",
        ),
        charts=(chart,),
        note="Test rows in bins of the confidence of their prediction, one run of each setting.",
    )


def _curve(name: str, curve: Reliability) -> Curve:
    bins = np.flatnonzero(curve.rows)
    words = [f"{curve.accuracy[m]:.3f} of {curve.rows[m]:,} rows" for m in bins]
    confidence, accuracy = curve.confidence[bins].tolist(), curve.accuracy[bins].tolist()
    return Curve(name, confidence, accuracy, words=words)
