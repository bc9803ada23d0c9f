"""The benchmark: the full network against policies, live, side by side on the same images: metrics/benchmark.json.

`measuring` takes the times, `caching` finds or fills the logit cache of the same engine and batch size, `agreement`
holds live answers against its replay, `walked` counts what they cost; `results` makes figures of all that, `tables`
puts them into files and words. Importing this package alone imports nothing.
"""
