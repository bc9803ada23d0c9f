"""Write the chosen data set as data/prepared/{train,val,test}.parquet."""

from pathlib import Path

from offramp.data import sources
from offramp.data.params import Data, Datasets
from offramp.data.prepared import write_split
from offramp.project.sections import Seed, StageParams, chosen
from offramp.project.stage import run

PREPARED = Path("data/prepared")


class Params(StageParams):
    seed: Seed
    data: Data
    datasets: Datasets


def main() -> None:
    params = Params.read()
    name = params.data.name
    dataset = chosen(params.datasets, name, "data.name", "datasets")
    with sources.opened(name, dataset, params.seed, beside=PREPARED) as source:
        for note in source.notes:
            print(note)
        for split, rows in source.splits.items():
            written = write_split(
                PREPARED / f"{split}.parquet",
                rows.batches,
                dataset=name,
                split=split,
                classes=source.classes,
                n_expected=rows.count,
                about=rows.about,
            )
            print(f"{split}: {written.rows} images of {len(written.classes)} classes, {written.image_shape}")


if __name__ == "__main__":
    run(main)
