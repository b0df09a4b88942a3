tap.o: tests/abi/tap.h
