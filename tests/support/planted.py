"""Students' functions: out of the text of a file, or with mistakes planted into a solution.

The mistake's own function computes the whole result, so nothing is said here about how a student would write it.
"""

import inspect

import numpy as np

from npresnext.learn.exercise import agree
from npresnext.learn.exercises.convolution import SUM_OF_PRODUCTS


def load(text, function):
    """The function of a file."""
    names = {"__name__": "submission"}
    exec(compile(text, "submission.py", "exec"), names)
    return names[function]


def plant(exercise, *mistakes):
    """A function with the parameters of an exercise that makes these mistakes, each in its result."""

    def results_of(arguments):
        results = dict(exercise.right(arguments))
        for wrong in mistakes:
            computed = wrong.compute(arguments)
            results[wrong.result] = int(computed) if exercise.results[wrong.result] == "int" else computed
        values = tuple(results[name] for name in exercise.results)
        return values if len(values) > 1 else values[0]

    if exercise is SUM_OF_PRODUCTS:
        return one_value(results_of)

    def function(*values):
        return results_of(dict(zip(exercise.parameters, values)))

    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in exercise.parameters]
    function.__signature__ = inspect.Signature(parameters)
    return function


def one_value(results_of):
    """One value of y; all of y is computed once for each x."""
    last = {}

    def output_value(x, weight, n, o, p, q, stride, padding):
        if last.get("x") is not x:
            last["x"] = x
            last["y"] = results_of({"x": x, "weight": weight, "stride": stride, "padding": padding})
        return last["y"][n, o, p, q]

    return output_value


def applying_mistakes(exercise, cases):
    """The mistakes of an exercise that change a result in any of these cases."""
    every = [(arguments, exercise.right(arguments)) for arguments in map(exercise.arguments, cases)]
    return [wrong for wrong in exercise.mistakes if any(changes(exercise, wrong, *one) for one in every)]


@np.errstate(all="ignore")
def changes(exercise, wrong, arguments, right):
    """Whether a mistake changes its result for these arguments."""
    try:
        computed = wrong.compute(arguments)
    except Exception:  # with this mistake there is no result at all
        return False
    return not agree(computed, right[wrong.result], max(exercise.tolerance, 1e-12))
