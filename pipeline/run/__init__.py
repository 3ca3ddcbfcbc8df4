"""From an action to its outputs in place: keys, the engine that decides, and the processes that do the work.

`engine` is what `tasks` and `commands` call. Under it, `worker` keeps one warm interpreter per toolchain
(`forkserver` is that process, `failure` carries its errors home), `tools` finds programs and says what they are, and
`memory` keeps the sum of all jobs within the machine. Nothing in here knows what a step means.
"""
