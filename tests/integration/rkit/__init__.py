# SPDX-License-Identifier: Apache-2.0
"""Support for the integration tests. A test file imports from here and ends with rkit.main()."""

from .case import RkTestCase, backends, main, needs, ours
from .launch import Rootlesskit, ctl, run
from .world import World, world

__all__ = ["RkTestCase", "Rootlesskit", "World", "backends", "ctl", "main", "needs", "ours", "run", "world"]
