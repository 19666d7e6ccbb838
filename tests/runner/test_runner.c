// The runner itself: what passes, fails, is skipped, and what is counted.
#include "cmocka.h"

#include <stdio.h>
#include <string.h>

static int cleaned;

static int good(void **state)
{
	*state = "state";
	return 0;
}

static int clean(void **state)
{
	(void)state;
	cleaned++;
	return 0;
}

static int bad(void **state)
{
	(void)state;
	return -1;
}

static void passes(void **state)
{
	(void)state;
	assert_true(2 > 1);
	assert_int_equal(-1, (long long)-1);
	assert_float_equal(1, 1.05, 0.1);
	assert_string_equal("a", "a");
	assert_memory_equal("abc", "abd", 2);
	assert_memory_not_equal("abc", "abd", 3);
	assert_in_range(3, 3, 4);
}

static void sees_state(void **state) { assert_string_equal(*state, "state"); }

static void is_skipped(void **state)
{
	(void)state;
	skip();
}

// One row each: an assertion that does not hold.
static int row;
static void fails(void **state)
{
	(void)state;
	switch (row++) {
	case 0: assert_true(1 > 2); break;
	case 1: assert_false(2 > 1); break;
	case 2: assert_int_equal(1, 2); break;
	case 3: assert_float_equal(1, 1.2, 0.1); break;
	case 4: assert_float_equal(1, 0.0 / 0.0, 0.1); break;
	case 5: assert_string_equal("a", "b"); break;
	case 6: assert_memory_equal("abc", "abd", 3); break;
	case 7: assert_memory_not_equal("abc", "abd", 2); break;
	case 8: assert_null("x"); break;
	case 9: assert_non_null(NULL); break;
	case 10: assert_in_range(5, 3, 4); break;
	case 11: assert_ptr_equal("x", NULL); break;
	case 12: assert_ptr_not_equal(NULL, NULL); break;
	case 13: fail(); break;
	default: fail_msg("%d", row);
	}
}

int main(void)
{
	const struct CMUnitTest all_good[] = {cmocka_unit_test(passes), cmocka_unit_test(is_skipped),
	                                      cmocka_unit_test_setup_teardown(sees_state, good, clean)};
	const struct CMUnitTest failing[] = {
	    cmocka_unit_test(fails), cmocka_unit_test(fails), cmocka_unit_test(fails), cmocka_unit_test(fails),
	    cmocka_unit_test(fails), cmocka_unit_test(fails), cmocka_unit_test(fails), cmocka_unit_test(fails),
	    cmocka_unit_test(fails), cmocka_unit_test(fails), cmocka_unit_test(fails), cmocka_unit_test(fails),
	    cmocka_unit_test(fails), cmocka_unit_test(fails), cmocka_unit_test(fails),
	};
	const struct CMUnitTest not_set_up[] = {cmocka_unit_test_setup_teardown(passes, bad, clean)};
	bool ok = cmocka_run_group_tests(all_good, NULL, NULL) == 0 && cleaned == 1 &&
	          cmocka_run_group_tests(failing, good, clean) == 15 && row == 15 && cleaned == 2 &&
	          cmocka_run_group_tests(not_set_up, NULL, NULL) == 1 && cmocka_run_group_tests(all_good, bad, NULL) == 1;

	fprintf(stderr, "%s\n", ok ? "the runner counts right" : "THE RUNNER IS WRONG");
	return !ok;
}
