// Bugs planted into the text of kernels: plant.c, device.c.
#ifndef TG_EMU_PLANT_H
#define TG_EMU_PLANT_H

enum { EMU_LAST = -1, EMU_ALL = -2 };
struct emu_bug {
	const char *what, *from, *to;
	int which; // of the places where `from` stands, from 0; or EMU_LAST, EMU_ALL
};
char *emu_changed(const char *text, const struct emu_bug *b); // malloc'ed; NULL: it has no such place
// Into what the device compiles from now on, if it has the place; nobody else meets such kernels. NULL: no more.
void emu_plant(const struct emu_bug *b);
int emu_planted(void); // kernels changed since

#endif
