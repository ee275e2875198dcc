"""What `make` runs to operate the stack: each command is a module with a `main`, the others are what they share.

Standard library only, and Python 3.9: it runs on the machine of whoever types `make up`. A module imports others of its
row, or of a row below (tests/ops/test_imports.py reads this table):

    up, deploy, backup, restore, down, clean        commands that change the stack
    doctor, ps, logs, shell, token                  commands that do not
    dev, bench, soak, spool, answers                commands beside it
    welcome, env, venv                              commands that others use, too
    rolling, services, role, archive, inspection    steps of commands, in containers
    building, build_progress                        images that are made here
    compose, fit                                    Compose; settings that fit together, and this machine
    images, ownership, database, ports, addresses   one question each: about the stack,
    values, lock, python                            and about this machine
    engine                                          containers, volumes and images, as Docker knows them
    settings, dotenv                                what a setting is; the one reader of .env
    programs, console                               other programs; how commands speak, ask and wait
"""
