// SPDX-License-Identifier: Apache-2.0
//
// A CMDQV as firmware announces it (Linux drivers/iommu/arm/arm-smmu-v3/tegra241-cmdqv.c,
// tegra241_cmdqv_acpi_is_memory): its _UID is the identifier of the SMMU's node in the IORT, its
// only resource the window of the registers. The address is where QEMU's machine `virt` puts the
// first memory device above 1 GiB of RAM; the size fits 4 VINTFs.
DefinitionBlock("cmdqv.aml", "SSDT", 2, "BERTH", "CMDQV", 1)
{
    Scope(\_SB)
    {
        Device(CQV0)
        {
            Name(_HID, "NVDA200C")
            Name(_UID, 1)
            Name(_CCA, 1)
            Name(_CRS, ResourceTemplate()
            {
                QWordMemory(ResourceConsumer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                            0, 0x80000000, 0x800AFFFF, 0, 0xB0000)
            })
        }
    }
}
