/* Gives each file named on the command line to a fuzz target, without a fuzzer. */
#include "fuzz.h"

int main(int argc, char **argv)
{
	static uint8_t bytes[1 << 20];

	for (int i = 1; i < argc; i++) {
		FILE *file = fopen(argv[i], "rb");
		uint8_t *exact;
		size_t n;

		if (file == NULL) {
			perror(argv[i]);
			return 1;
		}
		n = fread(bytes, 1, sizeof bytes, file);
		fclose(file);
		/* A block of the very size, so that sanitizers see what is read beyond it. */
		exact = malloc(n > 0 ? n : 1);
		memcpy(exact, bytes, n);
		LLVMFuzzerTestOneInput(exact, n);
		free(exact);
	}
	printf("%s: %d inputs\n", argv[0], argc - 1);
	return argc > 1 ? 0 : 1;
}
