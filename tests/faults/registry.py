"""Every fault there is, in the order of the table."""

from tests.faults import brokers, clocks, databases, frozen, full_disks, kills, networks, storms, two_owners

FAULTS = {fault.key: fault for room in (kills, brokers, databases, networks, full_disks, clocks, frozen, two_owners, storms) for fault in room.FAULTS}
