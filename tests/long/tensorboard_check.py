#!/usr/bin/env python3
"""TensorBoard's own reader must find in our event files what was written, and forget what a resume repeats.

test_train writes the files (TensorBoard.WritesForTensorBoardItself): steps 1 to 80, then 81 to 90 cut in the last record, then, purging
from 61 on, steps 61 to 100 with other values.
"""
import os
import pathlib
import subprocess
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

folder = pathlib.Path(os.environ["WORK"]) / "events"
folder.mkdir(parents=True, exist_ok=True)
subprocess.run([os.path.join(os.environ["HALFTONE_BUILD"], "test_train"),
                "--gtest_filter=TensorBoard.WritesForTensorBoardItself", "--gtest_brief=1"],
               env={**os.environ, "HALFTONE_TENSORBOARD_FOLDER": str(folder)}, check=True)

files = sorted(folder.iterdir())
assert len(files) == 3, files

# The first file alone: every scalar of every step.
reader = EventAccumulator(str(files[0]), size_guidance={"scalars": 0})
reader.Reload()
assert sorted(reader.Tags()["scalars"]) == ["train/loss", "train/lr"], reader.Tags()
loss = reader.Scalars("train/loss")
assert [e.step for e in loss] == list(range(1, 81))
assert all(abs(e.value - 1 / e.step) < 1e-7 for e in loss)
assert loss[0].wall_time == 1700000000.5, loss[0].wall_time

# The folder: one value a step, those from 61 on of the resumed run.
reader = EventAccumulator(str(folder), size_guidance={"scalars": 0})
reader.Reload()
loss = reader.Scalars("train/loss")
assert [e.step for e in loss] == list(range(1, 101)), [e.step for e in loss]
for e in loss:
    expected = 1 / e.step + (1 if e.step > 60 else 0)
    assert abs(e.value - expected) < 1e-6, (e.step, e.value, expected)
print(f"TensorBoard reads {len(loss)} steps from {len(files)} files")
sys.exit(0)
