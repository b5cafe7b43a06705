# %% [markdown]
# # Figure 1: inwards first
#
# A velocity carries a Gaussian to the ring around it. Every point falls towards the origin
# before it rises to the ring, in the trained field as in the exact one.
#
# The functions are in `toy/ring_flow.py`; what was found is in `docs/toys.md`.

# %%
import os
import sys

from IPython.display import Image

sys.path.insert(0, "..")
import plane
import ring_flow

print(ring_flow.__doc__)

# %%
result = ring_flow.compute(smoke="WTFLOW_SMOKE" in os.environ)
print("\n".join(ring_flow.summary(result)))

# %%
Image(plane.png(ring_flow.plot(result)))
