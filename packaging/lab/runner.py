"""Runs the tests of a program of this folder: `runner.main(cases)` is the whole of its end."""
import signal
import sys
import unittest

from space import as_root


class Result(unittest.TextTestResult):
    """Counts what passed, and shows the test's story beside each failure while its machines still exist."""

    passed = 0

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._tell(test)

    def addError(self, test, err):
        super().addError(test, err)
        self._tell(test)

    def _tell(self, test):
        if hasattr(test, "story"):  # not for a class whose machines could not be made
            self.stream.writeln(test.story())


def main(cases, slow=()):
    """Runs the tests of those classes, or those whose names contain one of the program's arguments, and ends the
    program. Without `--long` the `slow` ones must be named. The last line is `N passed, N failed`."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a lab that is told to stop cleans up
    as_root()
    words = [word for word in sys.argv[1:] if word != "--long"]
    found = unittest.TestSuite()
    for case in cases:
        for name in unittest.defaultTestLoader.getTestCaseNames(case):
            is_named = any(word in f"{case.__name__}.{name}" for word in words)
            if is_named or not words and ("--long" in sys.argv or name not in slow):
                found.addTest(case(name))
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2, resultclass=Result).run(found)
    skipped = len(result.skipped)
    failed = found.countTestCases() - result.passed - skipped
    print(f"{result.passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    sys.exit(1 if failed or not result.passed else 0)
