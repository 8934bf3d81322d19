/* bad_no_symbol: a shared object, but no plugin. */
int tova_test_not_a_plugin(void);

int tova_test_not_a_plugin(void)
{
	return 1;
}
