"""Write the chosen data set as data/prepared/{train,val,test}.parquet."""

from pathlib import Path

from offramp import sources
from offramp.params.data import Data, Datasets
from offramp.params.reading import Seed, StageParams, chosen
from offramp.prepared import write_split
from offramp.stage import run


class Params(StageParams):
    seed: Seed
    data: Data
    datasets: Datasets


def main() -> None:
    params = Params.read()
    name = params.data.name
    dataset = chosen(params.datasets, name, "data.name", "datasets")
    sources.check(name, dataset, params.seed)
    for split in sources.SPLITS:
        written = write_split(
            Path(f"data/prepared/{split}.parquet"),
            sources.batches(dataset, split, params.seed),
            dataset=name,
            split=split,
            classes=sources.classes(dataset),
            n_expected=sources.rows(dataset, split),
        )
        print(f"{split}: {written.rows} images of {len(written.classes)} classes, {written.image_shape}")


if __name__ == "__main__":
    run(main)
