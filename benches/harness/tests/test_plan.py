import unittest

from harness import plan
from harness.plan import CLIENTS, GROUPS, LOADS, RAW, Cell


class Plan(unittest.TestCase):
    def test_every_table_has_a_name_of_its_own_and_no_cell_twice(self) -> None:
        tables = list(plan.tables())
        self.assertEqual(len({table.name for table in tables}), len(tables))
        for table in tables:
            keys = [tuple(cell.key().items()) for cell in table.cells]
            self.assertEqual(len(set(keys)), len(keys), table.name)

    def test_every_cell_that_is_compared_has_a_raw_loop_beside_it(self) -> None:
        for table in plan.tables():
            raw = {cell.setting for cell in table.cells if cell.client == RAW}
            if raw and table.group != "counts":
                self.assertEqual({cell.setting for cell in table.cells} - raw, set(), table.name)

    def test_a_selection_keeps_the_raw_loop(self) -> None:
        (table,) = plan.select(["throughput"], ["memory"], ["ackbus-c"], lambda table: True)
        self.assertEqual([(cell.client, cell.msg_id) for cell in table.cells], [(RAW, True), ("ackbus-c", True), (RAW, False), ("ackbus-c", False)])

    def test_all_is_selected_by_default_and_a_part_by_quick(self) -> None:
        self.assertEqual(plan.select(GROUPS, LOADS, CLIENTS, lambda table: True), list(plan.tables()))
        names = [table.name for table in plan.select(GROUPS, LOADS, CLIENTS, plan.quick)]
        self.assertIn("latency/memory/20000", names)
        self.assertFalse([name for name in names if "file" in name or "r3" in name or "80%" in name])

    def test_the_rate_does_not_tell_cells_apart(self) -> None:
        self.assertEqual(Cell(RAW, rate=5).key(), Cell(RAW, rate=6).key())
