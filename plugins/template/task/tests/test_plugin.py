"""What every task promises; and that it finds what is there to be found."""

import numpy as np
from astroclip_my_plugin.task import MyPluginTask

from astroclip_astro.testing import parametrize_with_checks


@parametrize_with_checks("my-plugin")
def test_plugin(check):
    check()


def test_a_line_is_found():
    x = np.random.default_rng(0).normal(size=(500, 4))
    truth = 2 + x[:, 0] - x[:, 1]
    head = MyPluginTask(strength=0.1).fit(x[:400], truth[:400])
    np.testing.assert_allclose(head.predict(x[400:]), truth[400:], atol=0.05)
