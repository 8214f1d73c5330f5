# SPDX-License-Identifier: Apache-2.0
#
# The firmware, and all the software, of the VM that gets a device in the guest of level B: it waits
# until an edu (QEMU docs/specs/edu.rst) is on bus 0, drives it as a driver does, and says on QEMU's
# debug port what came of that: "edu works", or "edu fails" at the last of id, mmio, dma that it says.
#
# 64 KiB, as QEMU puts it below 4 GiB: as --32, ld -m elf_i386 -Ttext 0xffff0000 --oformat binary.

	.set DEBUG_PORT, 0xe9
	.set CONFIG_ADDRESS, 0xcf8
	.set CONFIG_DATA, 0xcfc
	.set EDU, 0x11e81234		# device and vendor
	.set BAR, 0xe0000000		# free in QEMU's "pc" as long as nobody else gives addresses
	.set SOURCE, 0x200000		# guest memory that the device reads
	.set COPY, 0x400000		# and what it writes there
	.set BUFFER, 0x40000		# the device's own
	.set WORDS, 1024

	.macro say string
	movl $\string, %esi
	call print
	.endm

	.text
rom:
	.code16
begin:	cli
	lgdtl %cs:(gdt_pointer - rom)
	movl %cr0, %eax
	orb $1, %al
	movl %eax, %cr0
	ljmpl $8, $protected

	.code32
protected:
	movw $16, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movl $0x7000, %esp

# ebx: the configuration address of the edu.
find:	movl $0x80000000, %ebx
next:	movl %ebx, %eax
	call config
	inl %dx, %eax
	cmpl $EDU, %eax
	je found
	addl $0x800, %ebx
	cmpl $0x80010000, %ebx
	jb next
	jmp find

found:	leal 0x10(%ebx), %eax		# BAR 0
	call config
	movl $BAR, %eax
	outl %eax, %dx
	leal 4(%ebx), %eax		# command: memory, bus master
	call config
	movl $6, %eax
	outl %eax, %dx

	movl $BAR, %ebp
	say said_id
	movl (%ebp), %eax
	cmpl $0x010000ed, %eax
	jne fails
	say said_mmio
	movl $0x12345678, 4(%ebp)	# it answers with the complement
	movl 4(%ebp), %eax
	notl %eax
	cmpl $0x12345678, %eax
	jne fails

	say said_dma
	xorl %ecx, %ecx
fill:	leal 0xb5000000(%ecx), %eax
	movl %eax, SOURCE(,%ecx,4)
	movl $0, COPY(,%ecx,4)
	incl %ecx
	cmpl $WORDS, %ecx
	jb fill

	movl $SOURCE, 0x80(%ebp)	# to the device
	movl $BUFFER, 0x88(%ebp)
	movl $(4 * WORDS), 0x90(%ebp)
	movl $1, 0x98(%ebp)
	call finish
	movl $BUFFER, 0x80(%ebp)	# from it
	movl $COPY, 0x88(%ebp)
	movl $(4 * WORDS), 0x90(%ebp)
	movl $3, 0x98(%ebp)
	call finish

	xorl %ecx, %ecx
compare: movl SOURCE(,%ecx,4), %eax
	cmpl COPY(,%ecx,4), %eax
	jne fails
	incl %ecx
	cmpl $WORDS, %ecx
	jb compare
	say said_works
halt:	hlt
	jmp halt
fails:	say said_fails
	jmp halt

# Waits until the transfer is done.
finish:	testl $1, 0x98(%ebp)
	jnz finish
	ret

# Selects the register at configuration address eax; its data are at port dx.
config:	movw $CONFIG_ADDRESS, %dx
	outl %eax, %dx
	movw $CONFIG_DATA, %dx
	ret

# Writes the text at esi.
print:	movw $DEBUG_PORT, %dx
1:	lodsb
	testb %al, %al
	jz 2f
	outb %al, %dx
	jmp 1b
2:	ret

said_id: .asciz "id "
said_mmio: .asciz "mmio "
said_dma: .asciz "dma "
said_works: .asciz "edu works\n"
said_fails: .asciz "edu fails\n"

	.align 8
gdt:	.quad 0
	.quad 0x00cf9b000000ffff	# code: all 4 GiB
	.quad 0x00cf93000000ffff	# data
gdt_pointer:
	.word gdt_pointer - gdt - 1
	.long gdt

	.org 0xfff0			# where the processor begins
	.code16
	jmp begin
	.org 0x10000
