"""From an action to its outputs in place: keys, the engine that decides, and the processes that do the work.

`engine` is what `tasks` and `commands` call. Under it, `worker` keeps one warm interpreter per toolchain:
`forkserver` is that process, `forkclient` asks it for children over `wire`, `failure` carries their errors home,
`usage` adds up their cost. `tools` finds programs and says what they are; `memory` keeps all jobs together within the
machine. Nothing in here knows what a step means.
"""
