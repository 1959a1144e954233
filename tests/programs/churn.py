"""Starts and ends tasks without a pause, in one loop. The argument says how many: hundreds, thousands or
tens-of-thousands a second (thousands without one). What can be judged of them is told in `_churn.py`."""

import sys
import threading

import _churn
from _truth import wait_for_stdin

_churn.set_up()
n_workers = _churn.set_rate(sys.argv[1:])
threading.Thread(target=wait_for_stdin, daemon=True).start()
_churn.run_main(n_workers, _churn.announce)
