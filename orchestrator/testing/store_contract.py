"""What every store must do. Subclass ``StoreContract`` and give the fixture ``store``.

The store must be made with the fixture ``clock``. The same tests run over memory, SQLite and
PostgreSQL; a new store needs nothing but a fixture.
"""

from __future__ import annotations

from orchestrator.testing.store_clients import ClientContract
from orchestrator.testing.store_driver import DriverContract
from orchestrator.testing.store_lists import ListContract
from orchestrator.testing.store_tunings import TuningContract


class StoreContract(ClientContract, DriverContract, ListContract, TuningContract):
    """All of it."""
