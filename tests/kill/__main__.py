"""python -m tests.kill [KILLS] [SEED]: kill `onelayer train` so often, resume it, compare.

A sweep of 48 runs in four passes on made rows; what was going on at each kill is counted.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.kill.campaign import campaign
from tests.made_data import make_dataset

OPTIONS = (
    *("--learning-rate", "0.03:0.9:3,300", "--l2", "0,0.05", "--batch-size", "4,10"),
    *("--seeds", "3", "--epochs", "600", "--shuffle-seed", "5"),
    *("--checkpoint-every", "0.1", "--resume"),
)


def main(kills: int, seed: int) -> None:
    """Kill and resume; print what was seen."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        rows = make_dataset(2000, seed=1)
        np.savez(place / "rows.npz", X=rows.X, y=rows.y)
        program = [sys.executable, "-m", "onelayer", "train", "--data", str(place / "rows.npz")]

        def command(folder: Path) -> list[str]:
            return [*program, *OPTIONS, "--out", str(folder)]

        (place / "runs").mkdir()
        for tally in campaign(command, place / "runs", kills=kills, seed=seed):
            print(f"\r{tally.kills.total()} kills, {tally.ended} sweeps ended", end="", flush=True)
    seconds = time.monotonic() - started
    print(f"\nseed {seed}, {seconds:.0f} s; kills:")
    for doing, count in tally.kills.most_common():
        print(f"  {count:4d} {doing}")
    print(f"all {tally.ended} sweeps ended with the bits of the undisturbed one")


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*(given + [100, 0][len(given) :]))
