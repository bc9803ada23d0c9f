"""The runtime: policies applied to images, live, on two engines behind one interface.

`live` is the loop, shared by all engines, `steps` what an engine gives it; `walking` is the loop of routes, which skip
heads, `stops` where these may look; `walking.runtime_for` chooses between the two. `torch_engine` and `onnx_engine` are
the engines; `exporting` and `graphs` make ONNX graphs of a network, `sessions` runs them. Importing this package alone
imports none of torch, onnx and onnxruntime.
"""
