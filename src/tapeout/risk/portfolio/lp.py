"""Linear and mixed-integer programs: a sparse matrix put together in blocks, solved by HiGHS.

Variables come in blocks shaped like the arrays they stand for, so that a model reads like its
formulas. Rows are `lower <= sum(coefficient x variable) <= upper`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats, Ints

INFINITY = float("inf")
TOLERANCE = 1e-9  # of feasibility and of reduced costs; models are scaled to order one


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """Optimum of a program.

    Attributes
    ----------
    objective : float
        The program's constant included.
    values : array, shape (column,)
    row_dual : array, shape (row,)
        Change of the objective for one more unit of a row's binding limit; zeros with integers.
    column_dual : array, shape (column,)
        Reduced costs.
    """

    objective: float
    values: Floats
    row_dual: Floats
    column_dual: Floats


class LinearProgram:
    """A minimisation built in blocks."""

    def __init__(self) -> None:
        self.constant = 0.0
        self._columns: list[tuple[Floats, Floats, Floats]] = []
        self._rows: list[tuple[Floats, Floats]] = []
        self._entries: list[tuple[Ints, Ints, Floats]] = []
        self._integer: list[Ints] = []
        self.column_count = 0
        self.row_count = 0

    def columns(
        self,
        cost: ArrayLike,
        lower: ArrayLike = 0.0,
        upper: ArrayLike = INFINITY,
        *,
        integer: bool = False,
    ) -> Ints:
        """Add a block of variables shaped like `cost`; return their numbers in that shape."""
        cost = np.asarray(cost, float)
        number = self.column_count + np.arange(cost.size, dtype=np.int64).reshape(cost.shape)
        bounds = [np.broadcast_to(np.asarray(b, float), cost.shape).ravel() for b in (lower, upper)]
        self._columns.append((cost.ravel(), bounds[0], bounds[1]))
        self.column_count += cost.size
        if integer:
            self._integer.append(number.ravel())
        return number

    def rows(self, lower: ArrayLike, upper: ArrayLike = INFINITY) -> Ints:
        """Add a block of rows shaped like `lower` and `upper` together; return their numbers."""
        low, high = np.broadcast_arrays(np.asarray(lower, float), np.asarray(upper, float))
        number = self.row_count + np.arange(low.size, dtype=np.int64).reshape(low.shape)
        self._rows.append((low.ravel(), high.ravel()))
        self.row_count += low.size
        return number

    def put(self, rows: ArrayLike, columns: ArrayLike, values: ArrayLike) -> None:
        """Add coefficients; the three broadcast against each other, and zeros are left out."""
        row, column, value = np.broadcast_arrays(
            np.asarray(rows, np.int64), np.asarray(columns, np.int64), np.asarray(values, float)
        )
        kept = value != 0.0
        self._entries.append((row[kept], column[kept], value[kept]))

    def arrays(self) -> dict[str, Any]:
        """Cost, bounds, and the matrix by rows (start, index, value), for any solver."""
        cost, lower, upper = (np.concatenate(part) for part in zip(*self._columns, strict=True))
        rows = self._rows or [(np.zeros(0), np.zeros(0))]
        row_lower, row_upper = (np.concatenate(part) for part in zip(*rows, strict=True))
        entries = self._entries or [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
        row, column, value = (np.concatenate(part) for part in zip(*entries, strict=True))
        order = np.lexsort((column, row))
        row, column, value = row[order], column[order], value[order]
        assert not np.any((np.diff(row) == 0) & (np.diff(column) == 0)), "a coefficient twice"
        count = np.bincount(row, minlength=self.row_count)
        integer = np.zeros(self.column_count, bool)
        for numbers in self._integer:
            integer[numbers] = True
        return {
            "cost": cost,
            "lower": lower,
            "upper": upper,
            "row_lower": row_lower,
            "row_upper": row_upper,
            "start": np.concatenate([[0], np.cumsum(count)]),
            "index": column,
            "value": value,
            "integer": integer,
        }

    def solve(self) -> Solution:
        """Solve to optimality.

        Raises
        ------
        InfeasibleError
            No point meets all rows, or the objective has no lower bound.
        """
        return Live(self).solve()

    def dual_objective(self, solution: Solution) -> float:
        """Objective of the dual at a solution's prices: what every bound contributes.

        Equal to the primal objective at an optimum without integers.
        """
        a = self.arrays()
        total = self.constant
        for dual, low, high in (
            (solution.row_dual, a["row_lower"], a["row_upper"]),
            (solution.column_dual, a["lower"], a["upper"]),
        ):
            bound = np.where(dual > 0, low, high)
            counted = np.abs(dual) > TOLERANCE
            total += float(dual[counted] @ bound[counted])
        return total


class Live:
    """A program kept by the solver: rows and bounds change, the last basis is the next start."""

    def __init__(self, program: LinearProgram) -> None:
        import highspy  # noqa: PLC0415  heavy, and only a portfolio needs it

        a = program.arrays()
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = program.column_count, program.row_count
        model.offset_ = program.constant
        model.col_cost_, model.col_lower_, model.col_upper_ = a["cost"], a["lower"], a["upper"]
        model.row_lower_, model.row_upper_ = a["row_lower"], a["row_upper"]
        model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        model.a_matrix_.start_ = a["start"]
        model.a_matrix_.index_, model.a_matrix_.value_ = a["index"], a["value"]
        if a["integer"].any():
            kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
            model.integrality_ = [kinds[int(one)] for one in a["integer"]]
        # the wrapper around the solver sets callbacks up, and with them prints a banner before it
        # can be told to be silent; its base does not
        base: Any = highspy.Highs.__base__
        self._solver = base()
        self._optimal = highspy.HighsModelStatus.kOptimal
        for name, value in (
            ("output_flag", False),
            ("threads", 1),
            ("primal_feasibility_tolerance", TOLERANCE),
            ("dual_feasibility_tolerance", TOLERANCE),
            ("mip_rel_gap", TOLERANCE),
        ):
            self._solver.setOptionValue(name, value)
        self._solver.passModel(model)

    def add_row(self, lower: float, upper: float, columns: Ints, values: Floats) -> None:
        """Add one row."""
        self._solver.addRow(lower, upper, len(columns), columns.astype(np.int32), values)

    def bound(self, columns: Ints, lower: Floats, upper: Floats) -> None:
        """Change the bounds of some variables."""
        index = columns.astype(np.int32).ravel()
        self._solver.changeColsBounds(index.size, index, lower.ravel(), upper.ravel())

    def price(self, columns: Ints, cost: Floats) -> None:
        """Change the cost of some variables."""
        index = columns.astype(np.int32).ravel()
        self._solver.changeColsCost(index.size, index, cost.ravel())

    def solve(self) -> Solution:
        """Solve from the last basis.

        Raises
        ------
        InfeasibleError
            No point meets all rows, or the objective has no lower bound.
        """
        self._solver.run()
        status = self._solver.getModelStatus()
        if status != self._optimal:
            said = self._solver.modelStatusToString(status)
            raise InfeasibleError(
                f"the linear program has no optimum ({said}); loosen a limit, or price what"
                " cannot be met"
            )
        found = self._solver.getSolution()
        return Solution(
            objective=float(self._solver.getInfo().objective_function_value),
            values=np.array(found.col_value),
            row_dual=np.array(found.row_dual),
            column_dual=np.array(found.col_dual),
        )
