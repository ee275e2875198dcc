"""The commands that `make` runs to operate the stack. Each command is a module with a `main`; the others are shared.

Standard library only, Python 3.9: they run on the machine on which someone types `make up`. A module may import modules
of its own row and of the rows below (tests/ops/test_imports.py reads this table):

    up, deploy, backup, restore, down, clean, demo  commands that change the stack
    doctor, ps, logs, shell, token                  commands that do not change it
    dev, bench, soak, spool, answers                commands that work without it
    welcome, env, venv                              commands that other commands use as well
    rolling, services, role, archive, inspection    steps of commands, in containers
    building, build_progress                        images that are built here
    compose, fit                                    Compose; checks of all settings together
    images, ownership, database, ports, addresses   one question each about the stack,
    values, lock, python                            or about this machine
    engine                                          containers, volumes and images that Docker has
    settings, dotenv                                settings; the only reader of .env
    programs, console                               other programs; messages, questions and waiting
"""
