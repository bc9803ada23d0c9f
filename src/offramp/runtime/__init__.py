"""The runtime: policies applied to images, live, on two engines behind one interface.

`live` is the loop, shared by all engines; `live_routes` is the loop of routes, which skip heads, and its `runtime_for`
chooses between the two; `policy_pieces` says which pieces of the network a policy runs. `engines` runs pieces and knows
no policy, `int8` quantises, `bundle` exports, `latency` and `benchmark` take times. Importing this package alone
imports none of torch, onnx and onnxruntime.
"""
