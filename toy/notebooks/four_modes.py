# %% [markdown]
# # Figure 5: the pull grows with the distance
#
# Four modes, farther and farther out, and after a worst transport map. Compare how fast the
# radius falls at first (`falling at`) with the radius itself.
#
# The functions are in `toy/four_modes.py`; what was found is in `docs/toys.md`.

# %%
import os
import sys

from IPython.display import Image

sys.path.insert(0, "..")
import four_modes
import plane

print(four_modes.__doc__)

# %%
result = four_modes.compute(smoke="WTFLOW_SMOKE" in os.environ)
print("\n".join(four_modes.summary(result)))

# %%
Image(plane.png(four_modes.plot(result)))
